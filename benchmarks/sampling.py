"""Episodes per second from memory on one core, and how long the images take to load.

Run by itself it measures one of the two in this process and prints JSON.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import torch

from fphi.tasks.episodes import EpisodeShape, SplitRule
from fphi.tasks.few_shot import FewShotTasks
from fphi.tasks.hershey import load_hershey
from fphi.tasks.omniglot import find_omniglot, load_omniglot
from fphi.tasks.pool import ClassPool
from output import Part

__all__ = ["measure_sampling"]

_BATCH = 16
_BATCHES = 200


def measure_sampling(rounds: int) -> Part:
    """The table; Omniglot where FPHI_DATA has it, else the embedded characters."""
    found: dict[str, list[float]] = {"first_load": [], "second_load": [], "episodes_per_second": []}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as empty:
            found["first_load"].append(_in_process("load", empty))
            found["second_load"].append(_in_process("load", empty))
            found["episodes_per_second"].append(_in_process("sample", empty))
    median = {name: statistics.median(values) for name, values in found.items()}
    return Part(
        f"Tasks from {'Omniglot' if _has_omniglot() else 'the embedded characters'}",
        ("5-way 1-shot, 1 query, classes rotated", "median"),
        [
            ("episodes per second, one core", f"{median['episodes_per_second']:,.0f}"),
            ("first load, nothing cached", f"{median['first_load']:.2f} s"),
            ("second load", f"{median['second_load']:.3f} s"),
        ],
        {"data": "omniglot" if _has_omniglot() else "hershey", **median},
    )


def _in_process(what: str, cache: str) -> float:
    environment = {**os.environ, "FPHI_CACHE": cache, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, __file__, what], env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    return float(json.loads(done.stdout))


def _has_omniglot() -> bool:
    """Whether FPHI_DATA has both archives: nothing is downloaded for a benchmark."""
    root = os.environ.get("FPHI_DATA")
    return bool(root) and all(find_omniglot(f"images_{part}", root) for part in ("background", "evaluation"))


def _load() -> ClassPool:
    return load_omniglot() if _has_omniglot() else load_hershey()


def _load_seconds() -> float:
    start = time.perf_counter()
    _load()
    return time.perf_counter() - start


def _episodes_per_second() -> float:
    """Drawn in batches as for training; the first batches are not counted."""
    rule = SplitRule(EpisodeShape(ways=5, shots=1, queries=1), rotation="class")
    tasks = FewShotTasks({"train": _load()}, {"train": rule})
    for i in range(_BATCHES // 10):
        tasks.batch("train", range(i * _BATCH, (i + 1) * _BATCH))
    start = time.perf_counter()
    for i in range(_BATCHES):
        tasks.batch("train", range(i * _BATCH, (i + 1) * _BATCH))
    return _BATCHES * _BATCH / (time.perf_counter() - start)


def main() -> None:
    """Measure what the argument names, on one core."""
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    print(json.dumps(_load_seconds() if sys.argv[1] == "load" else _episodes_per_second()))


if __name__ == "__main__":
    main()
