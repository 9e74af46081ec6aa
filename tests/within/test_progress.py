"""What changes in the course of training hears how far it is, before each step, resumed or not."""

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fphi.learnable import GradientLearner
from fphi.objective import meta_gradient
from fphi.run.meta.loop import Training, train
from fphi.tasks.supervised import Supervised
from fphi.tasks.types import Examples, Task
from fphi.within import sgd
from fphi.within.progress import tell_progress
from fphi.within.training import NetworkTraining
from run_fakes import FakeLearner, FakeTasks, momentum

STEPS = 6
SIX = Training(steps=STEPS, meta_batch=4, chunk_size=1, threads=2, validate_every=0)


class Notes(list[Any]):
    """A list that copies of its owner write into too."""

    def __deepcopy__(self, memo: object) -> "Notes":
        return self


class Annealed(FakeLearner):
    """Its loss weighs less and less; it notes what it hears, and what its losses were weighed with."""

    def __init__(self) -> None:
        super().__init__(dropout=0.0)  # one that draws random numbers works in one thread
        self.heard, self.used = Notes(), Notes()
        self.weight = 1.0

    def set_progress(self, fraction: float) -> None:
        self.heard.append(fraction)
        self.weight = 1 - fraction

    def task_losses(self, tasks: Task) -> Tensor:
        self.used.append(self.weight)
        return self.weight * super().task_losses(tasks)


def trained(learner: Annealed, out: Path, tasks: FakeTasks | None = None, resume: bool = False) -> Annealed:
    optimizer = momentum(learner)
    train(learner, optimizer, tasks or FakeTasks(), SIX, out, resume=resume, progress=False)
    return learner


def test_the_outer_loop_tells_the_learner_before_each_step_in_every_worker_thread(tmp_path: Path) -> None:
    learner = trained(Annealed(), tmp_path)
    assert learner.heard == [step / STEPS for step in range(STEPS)]
    assert learner.used == [1 - step / STEPS for step in range(STEPS) for _ in range(SIX.meta_batch)]


def test_a_resumed_training_hears_the_rest_and_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole = trained(Annealed(), tmp_path / "whole")
    first = trained(Annealed(), tmp_path / "parts", tasks=_interrupted_at(2))
    rest = trained(Annealed(), tmp_path / "parts", resume=True)
    assert first.heard == [0, 1 / STEPS, 2 / STEPS]
    assert [*first.heard, *rest.heard] == whole.heard
    assert torch.equal(rest.vector, whole.vector)


def _interrupted_at(step: int) -> FakeTasks:
    def at(indices: Sequence[int]) -> None:
        if indices[0] == step * SIX.meta_batch:
            signal.raise_signal(signal.SIGTERM)

    return FakeTasks(at=at)


class Hears(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)
        self.heard = Notes()

    def set_progress(self, fraction: float) -> None:
        self.heard.append(fraction)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        return out


def test_a_network_within_a_learner_hears_it() -> None:
    network = Hears()
    learner = GradientLearner(network, sgd(0.1), 1)
    tell_progress(learner, 0.25)
    assert network.heard == [0.25]
    examples = Examples(torch.randn(3, 4, 4), torch.arange(2).repeat(2).expand(3, -1))
    meta_gradient(learner, Task(examples, examples))  # and a gradient tells it nothing
    assert network.heard == [0.25]


def test_training_of_one_network_tells_it_before_each_minibatch_and_at_the_end() -> None:
    part = Examples(torch.randn(8, 4), torch.arange(2).repeat(4))
    network = Hears()
    NetworkTraining(epochs=2, batch_size=4).train(network, Supervised("", part, part, part, 2), 0)
    assert network.heard == [0.0, 0.25, 0.5, 0.75, 1.0]
