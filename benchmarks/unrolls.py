"""How many optimizee steps a second a learned optimizer is meta-trained with: problems together, or singly.

``python benchmarks/unrolls.py`` prints both rates, in turn, and their ratio. Problems are the quadratics
of 10 parameters of ``fphi train lstm-optimizer --tasks quadratics``, and the 20 units of ``--tasks digits``.
"""

import argparse
import statistics
import time

import torch
from torch import nn

import fphi
from fphi.learnable import OptimizerLearner
from fphi.tasks.types import Examples, Task
from fphi.within import LSTMOptimizer

STEPS = 20


def quadratics(count: int) -> tuple[nn.Module, Task]:
    """A linear map, and problems of ten numbers each."""
    return nn.Linear(10, 1, bias=False), fphi.load_tasks("quadratics").batch("train", range(count))


def digits(count: int) -> tuple[nn.Module, Task]:
    """A layer of 20 units, and a hundred digits for each problem."""
    tasks = fphi.load_tasks("digits", ways=10, shots=10).batch("train", range(count))
    inputs = tasks.support.x[0, 0].numel()
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 20), nn.Sigmoid(), nn.Linear(20, 10)), tasks


def seconds(learner: OptimizerLearner, tasks: Task, together: bool) -> float:
    """Of one meta-gradient."""
    count = len(tasks.support.x)
    batches = (
        [tasks]
        if together
        else [Task(*(Examples(*(t[i : i + 1] for t in e)) for e in tasks)) for i in range(count)]
    )
    start = time.perf_counter()
    for batch in batches:
        fphi.meta_gradient(learner, batch, threads=1)
    return time.perf_counter() - start


def main() -> None:
    """Measure both kinds of problems."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    for kind in (quadratics, digits):
        network, tasks = kind(chosen.problems)
        loss = nn.functional.mse_loss if kind is quadratics else nn.functional.cross_entropy
        learner = OptimizerLearner(network, LSTMOptimizer(), STEPS, start=0.01, loss=loss)
        seconds(learner, tasks, together=True)
        rounds = [
            (seconds(learner, tasks, True), seconds(learner, tasks, False)) for _ in range(chosen.rounds)
        ]
        together, alone = (
            chosen.problems * STEPS / statistics.median(each) for each in zip(*rounds, strict=True)
        )
        ratio = f"{together / alone:.1f}x"
        print(f"{kind.__name__}: {together:.0f} steps/s together, {alone:.0f} one by one: {ratio}")


if __name__ == "__main__":
    main()
