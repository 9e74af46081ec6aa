"""Check that systems compute the same gradient, then time them in turn."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping

import torch

from contenders import Row, is_peer
from output import Measured
from problem import Gradients, Problem, Step, make_problem

__all__ = ["compare", "interleaved", "same_gradient"]

# Largest allowed deviation of a gradient from the loop's, in float64.
TOLERANCE = 1e-6
_CHECK_TASKS = 3
_REFERENCE = "by hand"


def compare(row: Row, tasks: int, queries: int, rounds: int) -> list[Measured]:
    """Every system of a row: checked first, then timed if it computes the same as the loop by hand."""
    queries = row.queries or queries
    notes = same_gradient(row, queries)
    problem = make_problem(tasks, queries, row.network)
    steps = {name: row.systems[name](problem) for name, note in notes.items() if not note}
    seconds = interleaved(steps, rounds)
    rates = {name: tasks / statistics.median(times) for name, times in seconds.items()}
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
        )
        for name, rate in rates.items()
    ]
    untimed = {name: note for name, note in notes.items() if note} | dict(row.absent)
    return timed + [Measured(row.title, queries, name, note=note) for name, note in untimed.items()]


def interleaved(steps: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each step in each round; whoever was first in one round is last in the next.

    What slows the machine for a while so slows all of them. A round before the first is not counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    names = list(steps)
    for round_number in range(rounds + 1):
        for name in names[round_number % len(names) :] + names[: round_number % len(names)]:
            gc.collect()  # the garbage of one is not the next one's time
            start = time.perf_counter()
            steps[name]()
            if round_number > 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def same_gradient(row: Row, queries: int) -> dict[str, str]:
    """By system: empty where its float64 gradient is the loop's, else what is wrong."""
    problem = make_problem(_CHECK_TASKS, queries, row.network, torch.float64)
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
