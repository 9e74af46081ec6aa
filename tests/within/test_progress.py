"""What changes in the course of training hears how far it is, before each step, resumed or not."""

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fphi
from fphi.learnable import AnnealedWeights, GradientLearner, OptimizerLearner
from fphi.objective import meta_gradient
from fphi.run.meta.loop import Training, train
from fphi.tasks.supervised import Supervised
from fphi.tasks.types import Examples, Task
from fphi.within import learned_rate, sgd
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


STAGED: dict[str, dict[str, Any]] = {
    "order": {"first_order_until": 0.5},
    "weights": {"step_weights": AnnealedWeights(until=0.1)},
}
CONSTANT: dict[str, dict[str, Any]] = {
    "order": {"first_order_until": 1.0},
    "order 1": {"first_order_until": 0.5, "order": 1},
    "weights": {"step_weights": lambda steps, progress: [1 / steps] * steps},
}


def pair() -> Task:
    examples = Examples(torch.randn(2, 4, 4), torch.arange(2).repeat(2).expand(2, -1))
    return Task(examples, examples)


@pytest.mark.parametrize("name", STAGED)
def test_a_loop_of_one_s_own_that_tells_nothing_of_its_course_is_warned_once(name: str) -> None:
    learner = GradientLearner(nn.Linear(4, 2), sgd(0.1), 2, **STAGED[name])
    with pytest.warns(UserWarning, match=r"GradientLearner changes in .*: call fphi.tell_progress\(l") as met:
        fphi.meta_gradient(learner, pair())
    assert met[0].filename == __file__
    fphi.meta_gradient(learner, pair())  # where a second warning would be an error
    told = GradientLearner(nn.Linear(4, 2), sgd(0.1), 2, **STAGED[name])
    fphi.tell_progress(told, 0.0)
    fphi.meta_gradient(told, pair())
    fphi.meta_gradient(GradientLearner(nn.Linear(4, 2), sgd(0.1), 2, **STAGED[name]).eval(), pair())


@pytest.mark.parametrize("name", CONSTANT)
def test_what_stays_the_same_in_the_course_of_training_warns_of_nothing(name: str) -> None:
    fphi.meta_gradient(GradientLearner(nn.Linear(4, 2), sgd(0.1), 2, **CONSTANT[name]), pair())


def test_single_stretches_of_a_training_whose_course_is_not_told_warn() -> None:
    def learner(unroll: int) -> OptimizerLearner:
        rule = learned_rate(0.1, per="all")
        return OptimizerLearner(nn.Linear(4, 2), rule, 4, unroll=unroll, stretches="one")

    with pytest.warns(UserWarning, match="OptimizerLearner changes in the course of training"):
        fphi.meta_gradient(learner(2), pair())
    fphi.meta_gradient(learner(4), pair())  # there is one alone


def test_training_of_one_network_tells_it_before_each_minibatch_and_at_the_end() -> None:
    part = Examples(torch.randn(8, 4), torch.arange(2).repeat(4))
    network = Hears()
    NetworkTraining(epochs=2, batch_size=4).train(network, Supervised("", part, part, part, 2), 0)
    assert network.heard == [0.0, 0.25, 0.5, 0.75, 1.0]
