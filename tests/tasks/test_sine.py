"""Sine waves: the exact facts about them, by Monte Carlo within stated standard errors."""

from math import pi, sqrt

import numpy as np
import pytest
import torch

from fphi.errors import DataError, FphiError
from fphi.tasks import SineTasks

N = 40_000


@pytest.fixture(scope="module")
def sample() -> tuple[np.ndarray, np.ndarray]:
    """One point of each of N waves: the points are independent, so standard errors are simple."""
    support, _ = SineTasks(shots=1, seed=1).batch("train", range(N))
    return support.x[:, 0, 0].double().numpy(), support.y[:, 0, 0].double().numpy()


def within(values: np.ndarray, expected: float, errors: float = 4.0) -> bool:
    return bool(abs(values.mean() - expected) < errors * values.std() / sqrt(len(values)))


def test_amplitude_and_phase_moments() -> None:
    a, b = SineTasks().waves("train", range(N))
    assert within(a, 2.55)
    assert within(a**2, 8.503333)
    assert within(b, pi / 2)
    assert a.min() >= 0.1
    assert a.max() < 5
    assert b.min() >= 0
    assert b.max() < pi
    assert abs(np.corrcoef(a, b)[0, 1]) < 4 / sqrt(N)


def test_error_of_predicting_zero(sample: tuple[np.ndarray, np.ndarray]) -> None:
    _, y = sample
    assert within(y**2, 4.251667)


def test_error_of_the_best_blind_predictor(sample: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = sample
    assert within((y + 1.6233804195 * np.cos(x)) ** 2, 3.0056693556)


def test_the_best_blind_predictor_is_minus_1_6234_cos_x(sample: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = sample
    # The residual is uncorrelated with every function of x, here the first few.
    residual = y + 1.6233804195 * np.cos(x)
    for feature in (np.ones_like(x), np.cos(x), np.sin(x), x, np.cos(2 * x)):
        assert within(residual * feature, 0.0)


def test_all_points_of_a_task_lie_on_its_wave() -> None:
    tasks = SineTasks(shots=7, queries=3, seed=5)
    a, b = tasks.waves("test", [2, 9])
    for part in tasks.batch("test", [2, 9]):
        x = part.x[..., 0].double().numpy()
        expected = a[:, None] * np.sin(x - b[:, None])
        assert np.allclose(part.y[..., 0].numpy(), expected, atol=1e-5)
        assert np.abs(x).max() <= 5


def test_shapes_and_independence_of_the_batch() -> None:
    tasks = SineTasks(shots=10, queries=4)
    support, query = tasks.batch("validation", [8, 1])
    assert support.x.shape == support.y.shape == (2, 10, 1)
    assert query.x.shape == query.y.shape == (2, 4, 1)
    assert query.y.dtype == torch.float32
    assert torch.equal(tasks.task("validation", 1).query.y, query.y[1])
    assert not torch.equal(tasks.task("train", 1).query.y, query.y[1])


def test_refusals() -> None:
    with pytest.raises(DataError, match="no split 'dev'"):
        SineTasks().batch("dev", [0])
    with pytest.raises(DataError, match="-2 is negative"):
        SineTasks().batch("train", [-2])
    with pytest.raises(FphiError, match="shots is 0; it must be at least 1"):
        SineTasks(shots=0)


class OtherWaves(SineTasks):
    AMPLITUDES = (0.3, 2.0)
    PHASES = (0.2, 1.7)
    INPUTS = (-1.0, 4.0)


def middles(bounds: tuple[float, float], n: int = 1501) -> np.ndarray:
    return bounds[0] + (bounds[1] - bounds[0]) * (np.arange(n) + 0.5) / n


@pytest.mark.parametrize("kind", [SineTasks, OtherWaves])
def test_the_task_blind_answers_are_means_over_tasks_and_their_error_what_is_left(
    kind: type[SineTasks],
) -> None:
    """Against the midpoint rule over phases and inputs; amplitudes enter by two moments."""
    a, b, x = middles(kind.AMPLITUDES), middles(kind.PHASES), middles(kind.INPUTS)
    waves = np.sin(x[:, None] - b)
    mean = a.mean() * waves.mean(1)
    answers = kind.task_blind(torch.from_numpy(x)[:, None])[:, 0].numpy()
    np.testing.assert_allclose(answers, mean, rtol=0, atol=1e-6)
    left = (a**2).mean() * (waves**2).mean() - (mean**2).mean()
    assert kind.task_blind_error() == pytest.approx(left, abs=1e-5)


def test_the_task_blind_optimum_of_the_paper() -> None:
    assert float(SineTasks.task_blind(torch.zeros(1, dtype=torch.float64))) == pytest.approx(-1.6233804195)
    assert SineTasks.task_blind_error() == pytest.approx(3.0056693556)
