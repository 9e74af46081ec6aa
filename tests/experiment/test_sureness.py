"""Whether probabilities can be believed, and queries of other classes told: on tasks whose answers are known."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fphi
from fphi.experiment.sureness import sureness
from fphi.learnable import LearningAlgorithm
from fphi.run.meta.confidence import calibration_error
from fphi.tasks import Examples


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
def tasks() -> fphi.TaskDistribution:
    return fphi.load_tasks("hershey", ways=5, shots=5)


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


def test_regression_has_no_calibration() -> None:
    waves = fphi.load_tasks("sine", shots=5)
    learner = fphi.GradientLearner(
        fphi.MLP(1, (8,), 1), optimizer=fphi.sgd(0.01), steps=1, loss=nn.functional.mse_loss
    )
    assert fphi.evaluate(learner, waves, count=3).calibration_error is None
