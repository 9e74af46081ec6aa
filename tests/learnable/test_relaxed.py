"""Relaxed choices: that z and z̃ agree with b whatever is drawn, their distributions, and their derivatives."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fphi.learnable.relaxed import ControlVariate, Draw, one_of, switches

EDGES = torch.tensor([0.0, 1e-300, 1e-12, 1e-7, 0.3, 0.5, 1 - 1e-7, 1 - 1e-12, 1.0], dtype=torch.float64)


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def distance_from_uniform(numbers: Tensor) -> float:
    """Kolmogorov's, times the root of how many there are: above 1.95 once in a thousand times."""
    n = len(numbers)
    return float((numbers.sort().values - (torch.arange(n) + 0.5) / n).abs().max()) * math.sqrt(n)


def test_a_switch_is_on_exactly_where_both_relaxed_forms_are_above_0() -> None:
    drawn = switches(*torch.meshgrid(EDGES, EDGES, EDGES, indexing="ij"))
    assert torch.equal(drawn.choice, drawn.relaxed > 0)
    assert torch.equal(drawn.choice, drawn.conditional > 0)
    assert all(bool(x.isfinite().all()) for x in (drawn.relaxed, drawn.conditional, drawn.log_probability))


@pytest.mark.parametrize("spread", [0.0, 1.0, 1000.0])
def test_a_choice_is_where_both_relaxed_forms_are_largest(spread: float) -> None:
    logits = spread * torch.randn(5000, 5, generator=torch.Generator().manual_seed(1))
    picks = torch.randint(len(EDGES), (2, 5000, 5), generator=torch.Generator().manual_seed(2))
    drawn = one_of(logits, EDGES[picks[0]], EDGES[picks[1]])
    assert torch.equal(drawn.choice, drawn.relaxed.argmax(-1))
    assert torch.equal(drawn.choice, drawn.conditional.argmax(-1))
    assert bool((drawn.conditional == drawn.conditional.amax(-1, keepdim=True)).sum(-1).eq(1).all())
    assert all(bool(x.isfinite().all()) for x in (drawn.relaxed, drawn.conditional, drawn.log_probability))


def test_both_forms_of_a_switch_have_the_logistic_distribution() -> None:
    n, theta = 20_000, 0.3
    drawn = switches(torch.full((n,), theta), uniform(n), uniform(n, seed=1))
    assert abs(int(drawn.choice.sum()) - n * theta) < 4 * math.sqrt(n * theta * (1 - theta))
    for z in (drawn.relaxed, drawn.conditional):
        assert distance_from_uniform((z - math.log(theta / (1 - theta))).sigmoid()) < 1.95


def test_both_forms_of_a_choice_have_gumbels_distribution() -> None:
    n, logits = 20_000, torch.tensor([0.5, -1.0, 0.0])
    drawn = one_of(logits.expand(n, 3), uniform(n, 3), uniform(n, 3, seed=1))
    for place, p in enumerate(logits.softmax(0).tolist()):
        assert abs(int((drawn.choice == place).sum()) - n * p) < 4 * math.sqrt(n * p * (1 - p))
        for z in (drawn.relaxed, drawn.conditional):
            assert distance_from_uniform((-(-(z[:, place] - math.log(p))).exp()).exp()) < 1.95


def test_the_probabilities_of_all_patterns_sum_to_1() -> None:
    theta, logits = torch.tensor([0.2, 0.7]), torch.tensor([0.3, -0.4, 1.0])
    patterns = {
        tuple(d.choice.tolist()): float(d.log_probability.sum().exp())
        for d in (switches(theta, uniform(2, seed=s), uniform(2)) for s in range(200))
    }
    assert len(patterns) == 4
    assert sum(patterns.values()) == pytest.approx(1)
    drawn = one_of(logits, uniform(3), uniform(3))
    assert float(drawn.log_probability) == pytest.approx(float(logits.log_softmax(0)[drawn.choice]), rel=1e-6)


@pytest.mark.parametrize("draw", [switches, one_of])
def test_the_derivatives_are_those_of_differences(draw: Callable[[Tensor, Tensor, Tensor], Draw]) -> None:
    p = torch.tensor([0.2, 0.6, 0.9], dtype=torch.float64, requires_grad=True)
    for seed in range(5):
        u, v = uniform(2, 3, seed=seed)

        def parts(p: Tensor, u: Tensor = u, v: Tensor = v) -> tuple[Tensor, ...]:
            drawn = draw(p, u, v)
            return drawn.relaxed, drawn.conditional, drawn.log_probability

        assert torch.autograd.gradcheck(parts, p)


def test_a_control_variate_begins_as_0_and_its_unit_is_the_usual_size_of_recent_values() -> None:
    control = ControlVariate(3)
    assert not control(torch.rand(7, 3)).any()
    assert control(torch.rand(7, 3)).shape == (7,)
    assert control.unit == 1
    control.watch(torch.tensor(-4.0))
    assert float(control.unit) == pytest.approx(4)
    control.watch(torch.tensor(2.0))
    assert float(control.unit) == pytest.approx(4 ** (0.9 / 1.9) * 2 ** (1 / 1.9))
    control.watch(torch.tensor(0.0))
    assert float(control.unit) == pytest.approx(4 ** (0.9 / 1.9) * 2 ** (1 / 1.9))
    for _ in range(40):  # sizes fall, and it follows
        control.watch(torch.tensor(1e-8))
    assert 1e-8 < float(control.unit) < 2e-8
