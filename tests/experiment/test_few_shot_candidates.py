"""Few-shot architecture search: a candidate's network as a learner's, meta-trained and tested on new tasks."""

import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import cast

import pytest
import torch
from torch import nn

from fphi.errors import FphiError
from fphi.experiment.search.candidate_learners import NetworkLearner, architecture_builder
from fphi.experiment.search.options import MetaOptions
from fphi.learnable import GradientLearner, PrototypicalLearner
from fphi.learnable.architecture import CellSpace
from fphi.learnable.space import Candidate
from fphi.methods.base import FewShotMethod
from fphi.methods.maml import MAML
from fphi.methods.prototypical import Prototypical
from fphi.networks import Conv4
from fphi.networks.batch_norm import BatchNorm, Mode
from fphi.objective.candidate_loss import MetaTrainAndTest
from fphi.objective.outcome import WORST
from fphi.tasks import Examples, FewShotTasks, Task, TaskDistribution
from waiting import Clock

SPACE = CellSpace(blocks=1, operations=("conv_3x3", "max_pool_3x3"), cells=1, channels=2, reductions=1)
QUICK = MetaOptions(steps=30, meta_batch=2, validation_tasks=30, test_tasks=30)
METHODS = {"prototypical": Prototypical(outer_lr=1e-2), "maml": MAML(outer_lr=1e-2)}
EACH = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


@dataclass(frozen=True)
class Stripes(TaskDistribution):
    """Two classes: stripes of a task's own width and direction, across or along, in noise."""

    given: tuple[str, ...] = ("train", "validation", "test")

    @property
    def splits(self) -> tuple[str, ...]:
        return self.given

    def batch(self, split: str, indices: Sequence[int]) -> Task:
        support, query = zip(*(self.examples(f"{split}/{index}") for index in indices), strict=True)
        return Task(*(Examples(*map(torch.stack, zip(*part, strict=True))) for part in (support, query)))

    def examples(self, name: str) -> tuple[Examples, Examples]:
        rng = Random(name)
        generator = torch.Generator().manual_seed(rng.randrange(2**60))
        wave = torch.sin(torch.arange(8) * rng.uniform(0.8, 2.0) + rng.uniform(0, 6))
        patterns = torch.stack([wave.expand(8, 8), wave.expand(8, 8).T]).roll(rng.choice((0, 1)), 0)
        y = torch.arange(8) % 2
        x = (patterns[y] + 0.3 * torch.randn(8, 8, 8, generator=generator)).unsqueeze(1)
        return Examples(x[:4], y[:4]), Examples(x[4:], y[4:])


def loss_of(method: FewShotMethod, meta: MetaOptions = QUICK, space: CellSpace = SPACE) -> MetaTrainAndTest:
    tasks = cast(FewShotTasks, Stripes())  # all that is asked of them
    return MetaTrainAndTest(NetworkLearner(method, tasks, meta, space), test=True)


def candidate(number: int) -> Candidate:
    return Candidate(number, SPACE.sample(Random(number)))


CONVOLUTIONS = Candidate(0, (0, 1, 0, 0, 0) * 2)


@EACH
def test_a_searched_cell_learns_new_tasks(method: FewShotMethod) -> None:
    outcome = loss_of(method)(CONVOLUTIONS)
    assert outcome.failure == ""
    assert outcome.loss == 1 - outcome.measures["validation_accuracy"] < 0.3
    assert outcome.measures["test_accuracy"] > 0.7
    untrained = loss_of(replace(method, outer_lr=1e-9), replace(QUICK, steps=1))  # type: ignore[call-arg]
    assert untrained(CONVOLUTIONS).loss > outcome.loss


def test_an_outcome_is_a_function_of_seed_and_number_alone() -> None:
    evaluate = loss_of(METHODS["prototypical"], replace(QUICK, steps=5), replace(SPACE, drop_path=0.3))
    first = [evaluate(candidate(number)) for number in range(3)]
    torch.manual_seed(99)
    state = torch.get_rng_state()
    again = [pickle.loads(pickle.dumps(evaluate))(candidate(number)) for number in (2, 1, 0)][::-1]
    assert [replace(o, seconds=0.0) for o in again] == [replace(o, seconds=0.0) for o in first]
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("name", "mode"), [("prototypical", "running"), ("maml", "query-batch")])
def test_each_learner_has_its_own_statistics_and_outputs(name: str, mode: Mode) -> None:
    learner = loss_of(METHODS[name], replace(QUICK, steps=1)).learner.learn(candidate(0).tokens, 0)
    norms = [m for m in learner.modules() if isinstance(m, BatchNorm)]
    assert norms
    assert {norm.mode for norm in norms} == {mode}
    assert not [m for m in learner.modules() if isinstance(m, nn.BatchNorm2d)]
    network = learner.get_submodule("network")
    assert network(torch.randn(4, 1, 8, 8)).shape[1] == (2 if name == "maml" else network.feature_size)


def padded(input_shape: tuple[int, ...], outputs: int | None, norm: Mode) -> nn.Module:
    """A Conv4, for images of twice the size."""
    inner = Conv4(outputs, image_size=2 * input_shape[1], filters=4, norm=norm)
    return nn.Sequential(nn.ZeroPad2d(4), inner)


def test_any_network_is_trained_in_the_same_way() -> None:
    """What a searched cell is compared with."""
    learner = cast(NetworkLearner, loss_of(METHODS["prototypical"]).learner)
    trained = learner.trained(0, QUICK.steps, network=padded)
    assert isinstance(trained, PrototypicalLearner)
    assert learner.accuracy(trained, "test") > 0.8
    norms = [m for m in trained.modules() if isinstance(m, BatchNorm)]
    assert all(float(norm.running_mean.abs().sum()) > 0 for norm in norms)  # calibrated
    assert isinstance(replace(learner, method=METHODS["maml"]).trained(0, 1, network=padded), GradientLearner)


def test_what_goes_wrong_has_the_worst_loss_and_the_reason(clock: Clock) -> None:
    clock.tick = 0.25
    late = loss_of(METHODS["prototypical"], replace(QUICK, limit_seconds=0.125))(candidate(0))
    assert (late.loss, late.failure) == (WORST, "out of time: 0.125 s were over in meta-step 1 of 30")
    diverging = loss_of(MAML(inner_lr=1000.0, inner_steps=20))(candidate(0))
    assert diverging.loss == WORST
    assert "nan" in diverging.failure
    assert "in meta-step 1" in diverging.failure
    with pytest.raises(FphiError, match="steps is 0; it must be at least 1"):
        MetaOptions(steps=0)


def test_the_builder_gives_what_the_space_has() -> None:
    network = architecture_builder(SPACE, candidate(0).tokens)((1, 8, 8), 2, "query-batch")
    assert network(torch.randn(4, 1, 8, 8)).shape == (4, 2)
