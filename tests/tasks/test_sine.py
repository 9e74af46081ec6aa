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
