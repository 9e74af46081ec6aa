"""Gradient descent on φ: schedules and clipping."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

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


ONE = torch.ones(1, 2)


def over(layer: nn.Module, optimizer: type[torch.optim.Optimizer] = torch.optim.SGD, **options: Any) -> Any:
    return optimizer(layer.parameters(), **{"lr": 0.5, **options})


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_what_has_no_gradient_is_left_alone(optimizer: type[torch.optim.Optimizer]) -> None:
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    descent = GradientDescent(over(net, optimizer), clip_norm=1.0)
    both = {name: torch.ones(2, 2) for name in ("0.weight", "1.weight")}
    descent.step(net, both)
    first, second = net.parameters()
    first.requires_grad_(False)
    frozen, other = first.clone(), second.clone()
    descent.step(net, {"1.weight": both["1.weight"]})
    assert torch.equal(first, frozen)
    assert not torch.equal(second, other)
    assert first.grad is None


def test_earlier_gradients_do_not_count_in_the_norm() -> None:
    net = nn.ModuleDict({"a": nn.Linear(1, 1, bias=False), "b": nn.Linear(1, 1, bias=False)})
    descent = GradientDescent(over(net, lr=1.0), clip_norm=1.0)
    one = torch.ones(1, 1)
    descent.step(net, {"a.weight": 100 * one, "b.weight": one})
    _, b = net.parameters()
    before = b.detach().clone()
    descent.step(net, {"b.weight": 0.5 * one})  # shorter than the bound, so all of it
    torch.testing.assert_close(b.detach(), before - 0.5)


@pytest.mark.parametrize(
    ("clipping", "optimizing"),
    [
        ({"clip_norm": 1e-3}, {}),
        ({"clip_value": 1e-3}, {}),
        ({}, {"momentum": 0.9, "nesterov": True, "foreach": True}),
    ],
)
def test_the_gradients_that_are_given_stay_as_they_are(
    clipping: dict[str, Any], optimizing: dict[str, Any]
) -> None:
    layer = nn.Linear(2, 1, bias=False)
    descent = GradientDescent(over(layer, **optimizing), **clipping)
    given: dict[str, Tensor] = {"weight": ONE.clone()}
    for _ in range(2):
        descent.step(layer, given)
    descent.optimizer.zero_grad(set_to_none=False)
    assert torch.equal(given["weight"], ONE)


def moved(layer: nn.Linear, descent: GradientDescent, progress: float = 0.0) -> float:
    before = layer.weight[0, 0].item()
    descent.step(layer, {"weight": ONE}, progress)
    return before - layer.weight[0, 0].item()


def test_rates_that_are_changed_count() -> None:
    layer, descent = make()
    assert moved(layer, descent) == pytest.approx(0.5)
    descent.optimizer.param_groups[0]["lr"] = 0.1
    assert moved(layer, descent) == pytest.approx(0.1)
    assert moved(layer, descent, progress=0.5) == pytest.approx(0.05)
    assert (descent.learning_rate, descent.optimizer.param_groups[0]["lr"]) == (0.05, 0.1)


@pytest.mark.parametrize("schedule", [None, linear_to_zero()])
def test_the_schedulers_of_torch_count_and_multiply(schedule: Any) -> None:
    layer = nn.Linear(2, 1, bias=False)
    sgd = over(layer)
    descent = GradientDescent(sgd, schedule)
    halving = torch.optim.lr_scheduler.StepLR(sgd, step_size=1, gamma=0.5)
    rates = []
    for number in range(4):
        rates.append(moved(layer, descent, number / 4))
        halving.step()
    factors = [1.0] * 4 if schedule is None else [1, 0.75, 0.5, 0.25]
    assert rates == pytest.approx([0.5 * 0.5**n * f for n, f in enumerate(factors)], abs=1e-6)


def test_a_state_of_any_time_goes_on_with_the_schedule() -> None:
    layer, descent = make()
    descent.step(layer, {"weight": ONE}, progress=0.5)
    for rate in (0.5, 0.25):  # as states have it, and had it when they kept the rate of the last step
        state = copy.deepcopy(descent.state_dict())
        state["param_groups"][0]["lr"] = rate
        other, again = make()
        again.load_state_dict(state)
        assert moved(other, again, progress=0.5) == pytest.approx(0.25)


def test_a_state_without_a_schedule_brings_its_rate() -> None:
    layer = nn.Linear(2, 1, bias=False)
    first, second = GradientDescent(over(layer, lr=0.3)), GradientDescent(over(layer))
    second.load_state_dict(first.state_dict())
    assert moved(layer, second) == pytest.approx(0.3, abs=1e-6)


def test_an_optimizer_that_needs_the_loss_is_refused() -> None:
    layer = nn.Linear(2, 1)
    with pytest.raises(FphiError, match="LBFGS computes the loss anew within a step"):
        GradientDescent(torch.optim.LBFGS(layer.parameters()))


@pytest.mark.parametrize("optimizer", [torch.optim.Adadelta, torch.optim.NAdam, torch.optim.Rprop])
def test_other_optimizers_are_not(optimizer: type[torch.optim.Optimizer]) -> None:
    layer = nn.Linear(2, 1, bias=False)
    descent = GradientDescent(over(layer, optimizer))
    assert moved(layer, descent) > 0
