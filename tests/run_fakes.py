"""A tiny learner and tiny tasks to train, and a command that trains them in a process of its own.

``python run_fakes.py OUT [--option value ...]`` begins a run in OUT, or goes on with the one there.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.learnable import LearningAlgorithm
from fphi.optimize import GradientDescent, cosine
from fphi.run.disk.checkpoint import LAST
from fphi.run.meta.loop import Training, TrainingResult, train
from fphi.run.meta.ranks import in_first_process
from fphi.tasks.distribution import TaskDistribution
from fphi.tasks.types import Examples, Task
from waiting import wait_for_sigterm

SIZE = 6


class FakeTasks(TaskDistribution):
    """Regression on noise: task i has three queries, drawn from i alone.

    Args:
        poison: this task's targets are nan.
        at: called with the numbers of each batch.
    """

    def __init__(
        self,
        poison: int | None = None,
        at: Callable[[Sequence[int]], None] = lambda indices: None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.poison, self.at, self.dtype = poison, at, dtype

    @property
    def splits(self) -> tuple[str, ...]:
        return ("train",)

    def batch(self, split: str, indices: Sequence[int]) -> Task:
        self.at(indices)
        draws = [
            torch.randn(3, SIZE + 1, generator=torch.Generator().manual_seed(i), dtype=self.dtype)
            for i in indices
        ]
        rows = torch.stack(draws)
        x, y = rows[..., :SIZE], rows[..., SIZE]
        if self.poison in indices:
            y = y * float("nan")
        return Task(Examples(x, y), Examples(x, y))


class FakeLearner(LearningAlgorithm):
    """One vector, one buffer that never moves, and dropout, so that training draws random numbers."""

    offset: Tensor

    def __init__(self, dropout: float = 0.5, dtype: torch.dtype = torch.float32) -> None:
        super().__init__(loss=F.mse_loss)
        self.vector = nn.Parameter(torch.linspace(-1, 1, SIZE, dtype=dtype))
        self.register_buffer("offset", torch.tensor(0.25, dtype=dtype))
        self.dropout = dropout

    def solve(self, support: Examples, query_x: Tensor) -> Tensor:
        return F.dropout(query_x, self.dropout, self.training) @ self.vector + self.offset


def momentum(learner: nn.Module) -> GradientDescent:
    """A torch optimizer with state, and a schedule that depends on the step."""
    return GradientDescent(torch.optim.SGD(learner.parameters(), lr=0.05, momentum=0.9), cosine())


def distance(learner: LearningAlgorithm) -> tuple[None, float]:
    """A validation that draws random numbers too; they must not disturb the training's."""
    vector = next(learner.parameters())
    return None, float(vector.detach().square().sum() + 1e-3 * torch.rand(()))


def run(
    out: Path, training: Training, *, resume: bool = False, tasks: FakeTasks | None = None
) -> tuple[FakeLearner, TrainingResult]:
    """Train the fake learner on the fake tasks."""
    learner = FakeLearner()
    result = train(
        learner, momentum(learner), tasks or FakeTasks(), training, out, validate=distance, resume=resume
    )
    return learner, result


def main() -> None:
    """Train as the options say; ``--die-at TASK`` is a kill from within, at an exact moment."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--batch", type=int, default=5)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--slow", type=float, default=0.0, help="seconds added to each step")
    parser.add_argument("--wait-at", type=int, help="the first rank waits for SIGTERM before this task")
    parser.add_argument("--double", action="store_true", help="float64 and no dropout")
    parser.add_argument("--die-at", type=int, help="the last rank kills itself when it comes to this task")
    parser.add_argument("--poison", type=int, help="this task's targets are nan")
    options = parser.parse_args()

    def at(indices: Sequence[int]) -> None:
        time.sleep(options.slow)
        if options.wait_at is not None and max(indices) >= options.wait_at and in_first_process():
            wait_for_sigterm(options.out / "waits")
        if options.die_at in indices:
            os.kill(os.getpid(), signal.SIGKILL)

    dtype = torch.float64 if options.double else torch.float32
    learner = FakeLearner(dropout=0.0 if options.double else 0.5, dtype=dtype)
    training = Training(
        steps=options.steps, meta_batch=options.batch, devices=options.devices, checkpoint_seconds=0,
        validate_every=7, log_every=1,
    )  # fmt: skip
    resume = (options.out / LAST).exists()
    tasks = FakeTasks(options.poison, at, dtype)
    result = train(learner, momentum(learner), tasks, training, options.out, validate=distance, resume=resume)
    print("interrupted" if result.interrupted else "finished", result.step)


def command() -> None:
    """The same, which tells what goes wrong as the command line does."""
    try:
        main()
    except FphiError as error:
        sys.exit(f"fphi: error: {error}")


def first_rank() -> None:
    """The first of several ranks, forked from a process that has loaded all: `Forked`."""
    # Else what is started is what the module of this process was, which is pytest.
    sys.modules["__main__"].__spec__ = None
    os.environ["OMP_NUM_THREADS"] = "1"
    command()


def as_torchrun_starts() -> None:
    """One of several processes, which the first word tells its place: rank, local rank, size, local size, port."""
    place = sys.argv.pop(1).split("/")
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_PORT")
    os.environ |= dict(zip(names, place, strict=True))
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_RUN_ID": "here", "OMP_NUM_THREADS": "1"}
    os.environ["GROUP_RANK"] = str(int(place[0]) // int(place[3]))
    command()


if __name__ == "__main__":
    command()
