"""Whether probabilities can be believed, and queries of other classes told: on tasks whose answers are known."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fphi
from fphi.experiment.sureness import sureness
from fphi.learnable import LearningAlgorithm
from fphi.learnable.turning import TurningLearner
from fphi.run.meta.confidence import calibration_error
from fphi.tasks import Examples, FewShotTasks, Minibatches, SplitRule, TrainingTasks


class Overconfident(LearningAlgorithm):
    """Minus squared distances to the class means of the pixels, many times too large."""

    reads_labels = True

    def __init__(self, scale: float) -> None:
        super().__init__(batching="loop")
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, support: Examples, query_x: Tensor) -> Tensor:
        ways = int(support.y.max()) + 1
        means = torch.stack([support.x[support.y == k].flatten(1).mean(0) for k in range(ways)])
        return -self.scale * torch.cdist(query_x.flatten(1), means).square()


@pytest.fixture(autouse=True)
def few_development_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fphi.experiment.sureness._DEVELOPMENT", 15)


@pytest.fixture(scope="module")
def tasks() -> FewShotTasks:
    tasks = fphi.load_tasks("hershey", ways=5, shots=5)
    assert isinstance(tasks, FewShotTasks)
    return tasks


def test_a_scale_of_the_logits_changes_nothing_once_they_are_calibrated(tasks: fphi.TaskDistribution) -> None:
    one, other = (sureness(Overconfident(scale), tasks, tasks, "test", 20) for scale in (0.05, 5.0))
    assert other.temperature == pytest.approx(100 * one.temperature, rel=1e-3)
    assert other.calibration_error == pytest.approx(one.calibration_error, abs=1e-6)
    raw = fphi.evaluate(Overconfident(5.0), tasks, count=20).calibration_error
    assert raw is not None
    assert other.calibration_error < 0.5 * raw
    assert other.answers == 20 * len(tasks.task("test", 0).query.y)


def test_queries_of_other_classes_look_less_known(tasks: fphi.TaskDistribution) -> None:
    told = sureness(Overconfident(0.05), tasks, tasks, "test", 20)
    assert told.chosen_on == "validation"
    assert float(told.auroc.mean()) > 0.6
    assert set(told.to_json()) == {
        "chosen_on",
        "temperature",
        "calibration_error",
        "answers",
        "unknown_classes",
    }


class OfFiveWays(Overconfident):
    """Learns from five classes with two examples each, and from nothing else."""

    def forward(self, support: Examples, query_x: Tensor) -> Tensor:
        assert support.y.bincount().tolist() == [2] * 5
        return super().forward(support, query_x)


@pytest.mark.parametrize(
    "train", [Minibatches(size=20), TrainingTasks(ways=20, shots=1, queries=2)], ids=["pooled", "20-way"]
)
def test_training_classes_calibrate_in_tasks_of_the_tests_size(train: TrainingTasks) -> None:
    tasks = fphi.load_tasks("hershey", ways=5, shots=2, train_on_validation=True, train=train)
    assert "validation" not in tasks.splits
    assert sureness(OfFiveWays(0.05), tasks, tasks, "test", 3).chosen_on == "train"


class Unlike(fphi.TaskDistribution):
    """Test tasks of five ways, and training tasks of other numbers."""

    splits = ("train", "test")

    def __init__(self, ways: int, shots: int) -> None:
        self.sizes = {"train": (ways, shots), "test": (5, 2)}

    def batch(self, split: str, indices: Sequence[int]) -> fphi.Task:
        ways, shots = self.sizes[split]
        y = torch.arange(ways).repeat(shots)
        x = y[:, None] + torch.zeros(len(y), 3)
        return fphi.stack([fphi.Task(Examples(x, y), Examples(x, y)) for _ in indices])


def test_training_tasks_of_another_size_do_not_calibrate() -> None:
    assert sureness(OfFiveWays(0.05), same := Unlike(5, 2), same, "test", 3).chosen_on == "train"
    for other in (Unlike(6, 2), Unlike(5, 3)):
        with pytest.raises(fphi.FphiError, match="needs development tasks of 5 ways and 2 shots, as at test"):
            sureness(OfFiveWays(0.05), other, other, "test", 3)


def test_the_last_of_a_fixed_number_of_tasks_is_followed_by_the_first(tasks: FewShotTasks) -> None:
    rule = SplitRule(tasks.shape("test"), fixed=tasks.draw("test", range(4)))
    trials = FewShotTasks({"trials": tasks.pool("test")}, {"trials": rule})
    told = sureness(Overconfident(0.05), trials, tasks, "trials", 4)
    assert len(told.auroc) == 4
    among = sureness(Overconfident(0.05), tasks, tasks, "test", 3)
    assert torch.equal(told.auroc[:3], among.auroc)


class Elsewhere(nn.Module):
    """Is at home on a device that holds no numbers, takes tasks there only, and answers from afar."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, device="meta"))

    def solve_alone(self, support: Examples, query_x: Tensor) -> Tensor:
        assert {part.device.type for part in (*support, query_x)} == {"meta"}
        return torch.zeros(1, query_x.shape[1], 5)

    def logits(self, answers: Tensor) -> Tensor:
        return answers


def test_tasks_are_asked_where_the_learner_is(tasks: fphi.TaskDistribution) -> None:
    learner: Any = Elsewhere()
    assert float(sureness(learner, tasks, tasks, "test", 3).auroc.mean()) == 0.5


def test_the_error_of_an_evaluation_is_that_of_all_its_answers(tasks: fphi.TaskDistribution) -> None:
    learner = Overconfident(0.3)
    batch = tasks.batch("test", range(6))
    found = fphi.evaluate(learner, batch, chunk_size=4)
    probabilities = (
        learner.solve(batch.support, batch.query.x).softmax(2).flatten(0, 1).detach().double().numpy()
    )
    by_hand = calibration_error(probabilities, batch.query.y.flatten().numpy())
    assert found.calibration_error == pytest.approx(by_hand, abs=1e-6)
    assert found.to_json()["calibration_error"] == found.calibration_error
    assert np.isfinite(by_hand)


class ByRank(Overconfident):
    """Answers with the ranks of the classes, which say nothing of how sure they are."""

    def logits(self, answers: Tensor) -> None:
        return None


def test_answers_that_are_no_probabilities_have_no_calibration(tasks: fphi.TaskDistribution) -> None:
    assert fphi.evaluate(ByRank(0.3), tasks, count=3).calibration_error is None
    with pytest.raises(fphi.FphiError, match="ByRank answers with no probabilities; leave --calibrate out"):
        sureness(ByRank(0.3), tasks, tasks, "test", 3)


class Equal(nn.Module):
    """Relations of 1 to the class that is the query itself, and of 0 to all others."""

    def forward(self, classes: Tensor, queries: Tensor) -> Tensor:
        return (torch.cdist(queries.flatten(1), classes.flatten(1)) < 1e-3).float()


@pytest.mark.parametrize("turns", [1, 4])
def test_relations_are_shares_of_a_probability(turns: int) -> None:
    """A learner that is always right and sure of it has no error; 0.8 to 0.2 is as sure as 0.4 to 0.1."""
    learner: LearningAlgorithm = fphi.RelationLearner(nn.Identity(), Equal())
    x, y = torch.eye(5).view(1, 5, 5, 1, 1).repeat(3, 1, 1, 2, 10).reshape(3, 5, 1, 10, 10), torch.arange(5)
    learner = learner if turns == 1 else TurningLearner(learner, turns)
    found = fphi.evaluate(
        learner, fphi.Task(Examples(x, y.repeat(3, 1)), Examples(x.clone(), y.repeat(3, 1)))
    )
    assert found.accuracy == 1
    assert found.calibration_error == pytest.approx(0, abs=1e-6)
    relations = torch.tensor([[0.8, 0.2], [0.4, 0.1], [0.0, 0.0]])
    logits = learner.logits(relations)
    assert logits is not None
    assert torch.allclose(logits.softmax(1), torch.tensor([[0.8, 0.2], [0.8, 0.2], [0.5, 0.5]]))


def test_regression_has_no_calibration() -> None:
    waves = fphi.load_tasks("sine", shots=5)
    learner = fphi.GradientLearner(
        fphi.MLP(1, (8,), 1), optimizer=fphi.sgd(0.01), steps=1, loss=nn.functional.mse_loss
    )
    assert fphi.evaluate(learner, waves, count=3).calibration_error is None
