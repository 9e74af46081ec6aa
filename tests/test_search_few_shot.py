"""Few-shot architecture search: a candidate's network as a learner's, meta-trained and tested on new tasks."""

import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import pytest
import torch
from torch import nn

from fphi.errors import FphiError
from fphi.learnable import GradientLearner, PrototypicalLearner
from fphi.learnable.architecture import CellSpace
from fphi.networks import Conv4
from fphi.networks.batch_norm import BatchNorm
from fphi.optimize.ask_tell import Candidate
from fphi.run.child_training import ChildError
from fphi.run.few_shot_child import FewShotChild, FewShotTraining
from fphi.run.outcome import WORST
from fphi.tasks import Examples, Task, TaskDistribution
from search_fakes import TinySpace

SPACE = CellSpace(blocks=1, operations=("conv_3x3", "max_pool_3x3"), cells=1, channels=2, reductions=1)
QUICK = FewShotTraining(steps=30, meta_batch=2, lr=1e-2, validation_tasks=30, test_tasks=30)


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


@pytest.fixture
def tasks() -> Stripes:
    return Stripes()


def candidate(number: int) -> Candidate:
    return Candidate(number, SPACE.sample(Random(number)))


@pytest.mark.parametrize("learner", ["prototypical", "maml"])
def test_a_searched_cell_learns_new_tasks(tasks: Stripes, learner: Any) -> None:
    evaluate = FewShotChild(SPACE, tasks, replace(QUICK, learner=learner))
    outcome = evaluate(Candidate(0, (0, 1, 0, 0, 0) * 2))  # convolutions throughout
    assert outcome.failure == ""
    assert outcome.loss == 1 - outcome.measures["validation_accuracy"] < 0.3
    assert outcome.measures["test_accuracy"] > 0.7
    untrained = replace(evaluate, training=replace(evaluate.training, steps=1, lr=1e-9))
    assert untrained(Candidate(0, (0, 1, 0, 0, 0) * 2)).loss > outcome.loss


def test_an_outcome_is_a_function_of_seed_and_number_alone(tasks: Stripes) -> None:
    evaluate = FewShotChild(replace(SPACE, drop_path=0.3), tasks, replace(QUICK, steps=5))
    first = [evaluate(candidate(number)) for number in range(3)]
    torch.manual_seed(99)
    state = torch.get_rng_state()
    again = [pickle.loads(pickle.dumps(evaluate))(candidate(number)) for number in (2, 1, 0)][::-1]
    assert [replace(o, seconds=0.0) for o in again] == [replace(o, seconds=0.0) for o in first]
    assert torch.equal(torch.get_rng_state(), state)


def test_each_learner_has_its_own_statistics_and_outputs(tasks: Stripes) -> None:
    cases: list[tuple[Any, str, int | None]] = [("prototypical", "running", None), ("maml", "query-batch", 2)]
    for learner, mode, outputs in cases:
        training = replace(QUICK, learner=learner)
        network = FewShotChild(SPACE, tasks, training).network(candidate(0))
        norms = [m for m in network.modules() if isinstance(m, BatchNorm)]
        assert norms
        assert {norm.mode for norm in norms} == {mode}
        assert not [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
        assert training.outputs(2) == outputs
        assert network(torch.randn(4, 1, 8, 8)).shape[1] == (outputs or network.feature_size)


def test_any_network_is_trained_in_the_same_way(tasks: Stripes) -> None:
    """What a searched cell is compared with."""

    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Conv4(None, image_size=16, filters=4, norm="running")

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(nn.functional.pad(x, (4, 4, 4, 4)))  # type: ignore[no-any-return]

    learner = QUICK.train(Padded(), tasks, 0)
    assert isinstance(learner, PrototypicalLearner)
    assert QUICK.accuracy(learner, tasks, "test", 30) > 0.8
    norms = [m for m in learner.modules() if isinstance(m, BatchNorm)]
    assert all(float(norm.running_mean.abs().sum()) > 0 for norm in norms)  # calibrated
    maml = replace(QUICK, learner="maml", steps=1)
    assert isinstance(maml.train(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), tasks, 0), GradientLearner)


def test_what_goes_wrong_has_the_worst_loss_and_the_reason(tasks: Stripes) -> None:
    late = FewShotChild(SPACE, tasks, replace(QUICK, limit_seconds=1e-9))(candidate(0))
    assert (late.loss, late.failure) == (WORST, "out of time: 1e-09 s were over in meta-step 1 of 30")
    with pytest.raises(ChildError, match=r"diverged: the loss is nan in meta-step 1 of 30"):
        replace(QUICK, learner="maml", inner_lr=1e38).train(
            nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), tasks, 0
        )


def test_spaces_and_tasks_that_do_not_fit_are_answered_with_a_remedy(tasks: Stripes) -> None:
    with pytest.raises(FphiError, match=r"networks of the space tiny have batch norms of their own"):
        FewShotChild(TinySpace(), tasks)
    with pytest.raises(FphiError, match="the tasks have no split 'validation'; choose a protocol"):
        FewShotChild(SPACE, Stripes(("train", "test")))
    with pytest.raises(FphiError, match="meta_batch is 0; give at least 1"):
        FewShotTraining(meta_batch=0)
