"""Peak memory and time of MAML over many inner steps: second-order, stored and recomputed, and implicit.

Run by itself it measures one setting in this process and prints JSON, so that every setting has a
process, and so a peak, of its own.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

import fphi
from fphi.learnable import ImplicitLearner
from output import Part, ratio_cell
from problem import INNER_LR, PlainConv4, make_problem

__all__ = ["measure_memory"]

# The bars: recomputed peak at 20 steps over that at 1, and recomputed over stored time at 20 steps.
PEAK_BAR, TIME_BAR = 1.2, 1.6
_STEPS, _MANY = 20, 50
_MOST_ROUNDS = 3  # peaks hardly vary
_SETTINGS = (
    ("recomputed", 1),
    ("recomputed", _STEPS),
    ("recomputed", _MANY),
    ("stored", 1),
    ("stored", _STEPS),
    ("implicit", 1),
    ("implicit", _MANY),
)

Setting = tuple[str, int]


def measure_memory(tasks: int, queries: int, rounds: int, threads: int) -> Part:
    """The table, from one process per setting and round, in turn."""
    peaks: dict[Setting, list[float]] = {setting: [] for setting in _SETTINGS}
    seconds: dict[Setting, list[float]] = {setting: [] for setting in _SETTINGS}
    for _ in range(min(rounds, _MOST_ROUNDS)):
        for setting in _SETTINGS:
            found = _in_process(setting, tasks, queries, threads)
            peaks[setting].append(found["peak_mb"])
            seconds[setting].append(found["seconds"])
    peak = {setting: statistics.median(values) for setting, values in peaks.items()}
    taken = {setting: statistics.median(values) for setting, values in seconds.items()}
    growth = peak["recomputed", _STEPS] / peak["recomputed", 1]
    slowdown = taken["recomputed", _STEPS] / taken["stored", _STEPS]
    return _part(tasks, peak, taken, growth, slowdown)


def _part(
    tasks: int, peak: dict[Setting, float], taken: dict[Setting, float], growth: float, slowdown: float
) -> Part:
    cells = [
        (memory, str(steps), f"{peak[memory, steps]:.0f} MB", f"{taken[memory, steps]:.2f} s")
        for memory, steps in _SETTINGS
    ]
    data = [
        {"memory": memory, "steps": steps, "peak_mb": peak[memory, steps], "seconds": taken[memory, steps]}
        for memory, steps in _SETTINGS
    ]
    grown = {kind: peak[kind, _MANY] - peak[kind, 1] for kind in ("recomputed", "implicit")}
    return Part(
        f"Memory of one second-order meta-gradient, {tasks} tasks",
        ("memory", "inner steps", "peak", "time"),
        cells,
        {"settings": data, "peak_growth": growth, "slowdown": slowdown, "grown_mb": grown},
        f"Recomputed, {_STEPS} steps need {ratio_cell(growth)} the memory of 1 ({_verdict(growth, PEAK_BAR)})"
        f" and {ratio_cell(slowdown)} the time of stored ({_verdict(slowdown, TIME_BAR)})."
        f" From 1 to {_MANY} steps the peak grows by {grown['recomputed']:.0f} MB recomputed and by "
        f"{grown['implicit']:.0f} MB implicit; the parameters of {tasks} tasks are {_copy_mb(tasks):.0f} MB.",
    )


def _copy_mb(tasks: int) -> float:
    return tasks * sum(p.numel() for p in fphi.Conv4().parameters()) * 4 / 1e6


def _verdict(value: float, bar: float) -> str:
    return f"bar {bar}: {'met' if value <= bar else 'missed'}"


def _in_process(setting: Setting, tasks: int, queries: int, threads: int) -> dict[str, float]:
    numbers = (setting[1], tasks, queries, threads)
    command = [sys.executable, __file__, setting[0], *map(str, numbers)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _one_setting(memory: str, steps: int, tasks: int, queries: int) -> dict[str, float]:
    """Peak over a warmed-up process in MB, and the seconds of the second meta-gradient."""
    _meta_gradient("stored", 1, tasks=2, queries=1, filters=4)
    before = _peak_mb()
    _meta_gradient(memory, steps, tasks, queries)
    seconds = _meta_gradient(memory, steps, tasks, queries)
    return {"peak_mb": _peak_mb() - before, "seconds": seconds}


def _meta_gradient(memory: str, steps: int, tasks: int, queries: int, filters: int = 64) -> float:
    network, rule = fphi.Conv4(filters=filters), fphi.sgd(INNER_LR)
    learner: fphi.GradientLearner
    if memory == "implicit":
        learner = ImplicitLearner(network, rule, steps)
    else:
        learner = fphi.GradientLearner(
            network, rule, steps, memory="recomputed" if memory == "recomputed" else "stored"
        )
    batch = make_problem(tasks, queries, lambda: PlainConv4(5)).tasks
    start = time.perf_counter()
    fphi.meta_gradient(learner, batch)
    return time.perf_counter() - start


def _peak_mb() -> float:
    """The most memory that this process ever held."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux: ru_maxrss there starts at the peak of the process that started this one
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def main() -> None:
    """Measure the setting that the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("memory", choices=("stored", "recomputed", "implicit"))
    for name in ("steps", "tasks", "queries", "threads"):
        parser.add_argument(name, type=int)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    print(json.dumps(_one_setting(chosen.memory, chosen.steps, chosen.tasks, chosen.queries)))


if __name__ == "__main__":
    main()
