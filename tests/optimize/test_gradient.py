"""Gradient descent on φ: schedules and clipping."""

import pytest
import torch
from torch import nn

from fphi.errors import FphiError
from fphi.optimize import GradientDescent, constant, cosine, linear_to_zero


def test_schedules() -> None:
    quarters = [0.0, 0.25, 0.5, 0.75, 1.0]
    assert [constant()(p) for p in quarters] == [1] * 5
    assert [linear_to_zero()(p) for p in quarters] == [1, 0.75, 0.5, 0.25, 0]
    assert [cosine()(p) for p in quarters] == pytest.approx([1, 0.853553, 0.5, 0.146447, 0], abs=1e-6)


def make(**options: float) -> tuple[nn.Linear, GradientDescent]:
    layer = nn.Linear(2, 1, bias=False)
    nn.init.zeros_(layer.weight)
    return layer, GradientDescent(torch.optim.SGD(layer.parameters(), lr=0.5), linear_to_zero(), **options)


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, [-1.5, -2.0]), ({"clip_norm": 1.0}, [-0.3, -0.4]), ({"clip_value": 3.5}, [-1.5, -1.75])],
)
def test_a_step_clips_and_takes_the_scheduled_rate(options: dict[str, float], expected: list[float]) -> None:
    layer, descent = make(**options)
    descent.step(layer, {"weight": torch.tensor([[3.0, 4.0]])}, progress=0.0)
    torch.testing.assert_close(layer.weight.data, torch.tensor([expected]))
    descent.step(layer, {"weight": torch.zeros(1, 2)}, progress=0.5)
    assert descent.learning_rate == 0.25


def test_a_bound_that_clips_everything_is_refused() -> None:
    for options in ({"clip_norm": 0.0}, {"clip_value": -1.0}):
        with pytest.raises(FphiError, match=r"must be (above|at least) 0"):
            make(**options)
