"""Check that systems compute the same gradient, then time them in turn."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping

import torch
from torch.utils.flop_counter import FlopCounterMode

from contenders import Row, is_peer
from output import Measured
from problem import Gradients, Problem, Step, make_problem

__all__ = ["compare", "interleaved", "same_gradient"]

# Largest allowed deviation of a gradient from the loop's, in float64.
TOLERANCE = 1e-6
_CHECK_TASKS = 3
_REFERENCE = "by hand"
_WARM_UP = 2  # rounds


def compare(row: Row, tasks: int, queries: int, rounds: int, device: str = "cpu") -> list[Measured]:
    """Every system of a row: checked first, then timed if it computes the same as the loop by hand."""
    queries, tasks = row.queries or queries, row.tasks or tasks
    notes = same_gradient(row, queries, device)
    problem = make_problem(tasks, queries, row.network, shape=row.shape, device=device)
    steps = {name: row.systems[name](problem) for name, note in notes.items() if not note}
    seconds = interleaved(steps, rounds, device)
    rates = {name: tasks / statistics.median(times) for name, times in seconds.items()}
    peak, products = _peak(device), _products(steps[_REFERENCE]) / tasks
    fastest = max(rate for name, rate in rates.items() if is_peer(name))
    timed = [
        Measured(
            row.title,
            queries,
            name,
            rate,
            rate / fastest,
            tuple(seconds[name]),
            variant=row.variants.get(name, ""),
            share=rate * products / peak,
        )
        for name, rate in rates.items()
    ]
    untimed = {name: note for name, note in notes.items() if note} | dict(row.absent)
    return timed + [Measured(row.title, queries, name, note=note) for name, note in untimed.items()]


def interleaved(
    steps: Mapping[str, Callable[[], object]], rounds: int, device: str = "cpu"
) -> dict[str, list[float]]:
    """Seconds of each step in each round; whoever was first in one round is last in the next.

    What slows the machine for a while so slows all of them. Two rounds before the first are not counted: in
    these the process gets the memory that it keeps.
    """
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    names = list(steps)
    for round_number in range(-_WARM_UP, rounds):
        for name in names[round_number % len(names) :] + names[: round_number % len(names)]:
            gc.collect()  # the garbage of one is not the next one's time
            start = time.perf_counter()
            steps[name]()
            if device != "cpu":
                torch.accelerator.synchronize()
            if round_number >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def _products(step: Callable[[], object]) -> float:
    """Floating point operations of convolutions and products of matrices, as PyTorch computes them."""
    with FlopCounterMode(display=False) as counter:
        step()
    return float(counter.get_total_flops())


def _peak(device: str) -> float:
    """Operations a second in the product of matrices that is the second convolution of 64 images."""
    patches, filters = torch.rand(64 * 14 * 14, 9 * 64, device=device), torch.rand(9 * 64, 64, device=device)
    seconds = interleaved({"product": lambda: patches @ filters}, 9, device)["product"]
    return 2 * patches.numel() * filters.shape[1] / min(seconds)


def same_gradient(row: Row, queries: int, device: str = "cpu") -> dict[str, str]:
    """By system: empty where its float64 gradient is the loop's, else what is wrong."""
    problem = make_problem(_CHECK_TASKS, queries, row.network, torch.float64, row.shape, device)
    reference = row.systems[_REFERENCE](problem)()
    return {
        name: "" if name in row.variants else _problem_of(name, make, problem, reference)
        for name, make in row.systems.items()
    }


def _problem_of(name: str, make: Callable[[Problem], Step], problem: Problem, reference: Gradients) -> str:
    try:
        found = make(problem)()
    except Exception as error:  # a peer may fail in any way beside a torch that it does not know
        if not is_peer(name):
            raise
        return str(error).strip().split("\n")[0] or type(error).__name__
    away = _deviation(found, reference)
    return "" if away <= TOLERANCE else f"another gradient: relative deviation {away:.1e}"


def _deviation(found: Gradients, reference: Gradients) -> float:
    """The largest relative deviation of a tensor; one that is zero but for rounding has no say.

    Batch norm cancels the bias of the convolution before it, whose gradient is such a zero.
    """
    whole = torch.cat([g.flatten() for g in reference.values()]).norm()

    def of(name: str) -> float:
        away = (found[name] - reference[name]).norm()
        return float(away / (reference[name].norm() + TOLERANCE * whole))

    return max(of(name) for name in reference)
