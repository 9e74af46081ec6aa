"""RELAX: its mean is the exact gradient whatever the control variate, which only makes the variance smaller."""

import math

import pytest
import torch
from torch import Tensor, nn

from fphi.learnable.relaxed import ControlVariate, one_of, switches
from fphi.objective.relax import learn_control, relax, square
from fphi.within import Parameters

COST = 0.45


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def random_control(inputs: int) -> ControlVariate:
    control = ControlVariate(inputs, hidden=8).double()
    nn.init.normal_(control.output.weight, std=0.1)
    return control


def require_mean(found: Tensor, wanted: Tensor) -> None:
    """The mean of ``[n, ...]`` within 4 standard errors."""
    error = found.std(0) / math.sqrt(len(found))
    off = (found.mean(0) - wanted).abs()
    assert bool((off < 4 * error).all()), f"off by {off.tolist()}, standard errors {error.tolist()}"


def switch_gradient(theta: float, n: int, control: ControlVariate | None, seed: int = 0) -> Parameters:
    """Of E (b - 0.45)² in θ, ``[n]`` draws of it."""
    p = torch.full((n,), theta, dtype=torch.float64, requires_grad=True)
    drawn = switches(p, uniform(n, seed=seed), uniform(n, seed=seed + 1))
    value = (drawn.choice.double() - COST) ** 2
    c = conditional = torch.zeros(n, dtype=torch.float64)
    if control is not None:
        c, conditional = (control((z / 0.5).sigmoid()[:, None]) for z in (drawn.relaxed, drawn.conditional))
    return relax(value, drawn.log_probability, (c, conditional), {"p": p})


@pytest.mark.parametrize("theta", [0.1, 0.4, 0.5, 0.9])
@pytest.mark.parametrize("control", [False, True])
def test_the_derivative_of_the_papers_example_is_a_tenth(theta: float, control: bool) -> None:
    found = switch_gradient(theta, 50_000, random_control(1) if control else None)
    require_mean(found["p"].detach(), torch.tensor(0.1, dtype=torch.float64))


def test_the_gradient_of_a_choice_and_switches_together_is_that_of_the_enumerated_mean() -> None:
    n, values = 40_000, uniform(3, 2, 2, seed=9)
    logits = torch.tensor([0.2, -0.7, 0.4], dtype=torch.float64)
    theta = torch.tensor([0.3, 0.8], dtype=torch.float64)

    def mean(logits: Tensor, theta: Tensor) -> Tensor:
        on = torch.stack([1 - theta, theta], 1)
        return torch.einsum("a,b,c,abc->", logits.softmax(0), on[0], on[1], values)

    wanted = torch.func.grad(mean, argnums=(0, 1))(logits, theta)
    phi = {"logits": logits.repeat(n, 1).requires_grad_(), "theta": theta.repeat(n, 1).requires_grad_()}
    pick = one_of(phi["logits"], uniform(n, 3, seed=1), uniform(n, 3, seed=2))
    on = switches(phi["theta"], uniform(n, 2, seed=3), uniform(n, 2, seed=4))
    control = random_control(5)
    soft = (
        torch.cat([(a / 0.5).softmax(-1), (b / 0.5).sigmoid()], 1)
        for a, b in ((pick.relaxed, on.relaxed), (pick.conditional, on.conditional))
    )
    c, conditional = (control(x) for x in soft)
    value = values[(pick.choice, *on.choice.long().unbind(1))]
    found = relax(value, pick.log_probability + on.log_probability.sum(1), (c, conditional), phi)
    for name, exact in zip(phi, wanted, strict=True):
        require_mean(found[name].detach(), exact)


@pytest.mark.parametrize("constant", [0.0, 0.7])
def test_a_constant_control_variate_is_reinforce_with_that_baseline(constant: float) -> None:
    p = torch.tensor([0.2, 0.9], requires_grad=True)
    drawn = switches(p, torch.tensor([0.5, 0.5]), torch.tensor([0.3, 0.3]))
    same = torch.tensor(constant)
    found = relax(torch.tensor(3.0), drawn.log_probability.sum(), (same, same), {"p": p})["p"]
    # b = 0 and 1: the derivatives of log(1 - p) and log p.
    assert torch.allclose(found, (3 - constant) * torch.tensor([-1 / 0.8, 1 / 0.9]), rtol=1e-6)


def test_two_estimates_of_one_sample_differ_by_reinforce_of_the_difference() -> None:
    """Why a control variate does nothing in the difference of two estimates, as DADA's paper has it."""
    p = torch.tensor([0.2, 0.9], dtype=torch.float64, requires_grad=True)
    drawn = switches(p, uniform(2), uniform(2, seed=1))
    control, log_p = random_control(2), drawn.log_probability.sum()
    c = control(drawn.relaxed.sigmoid()), control(drawn.conditional.sigmoid())
    nothing = torch.zeros((), dtype=torch.float64)
    one, other = (relax(torch.tensor(f, dtype=torch.float64), log_p, c, {"p": p})["p"] for f in (5.0, 3.0))
    plain = relax(torch.tensor(2.0, dtype=torch.float64), log_p, (nothing, nothing), {"p": p})["p"]
    assert torch.allclose(one - other, plain, atol=1e-12)
    assert not torch.allclose(one, 2.5 * plain, atol=1e-3)


@pytest.mark.parametrize("theta", [0.2, 0.5])
def test_once_it_has_learned_the_variance_is_far_below_reinforces(theta: float) -> None:
    torch.manual_seed(0)
    control = ControlVariate(1, hidden=20).double()
    optimizer = torch.optim.Adam(control.parameters(), lr=0.02)
    untrained, plain = (square(switch_gradient(theta, 10_000, c, seed=50)) for c in (control, None))
    assert torch.equal(untrained, plain)
    for step in range(200):
        learn_control(control, switch_gradient(theta, 200, control, seed=100 + 2 * step), optimizer)
    after = switch_gradient(theta, 10_000, control, seed=50)["p"].detach()
    reinforce = switch_gradient(theta, 10_000, None, seed=50)["p"].detach()
    assert after.var() < 0.2 * reinforce.var(), f"{after.var():.4g} of {reinforce.var():.4g}"
    require_mean(after, torch.tensor(0.1, dtype=torch.float64))


def test_a_step_of_the_control_variate_follows_the_gradient_of_the_mean_square() -> None:
    torch.manual_seed(0)
    control = random_control(1)

    def mean_square() -> Tensor:
        return switch_gradient(0.3, 20, control)["p"].square().mean()

    weight = control.output.weight
    before = weight.detach().clone()
    slope = torch.zeros_like(before)
    for i in range(8):
        for sign in (1, -1):
            with torch.no_grad():
                weight.copy_(before)
                weight[0, i] += sign * 1e-5
            slope[0, i] += sign * mean_square().detach() / 2e-5
    with torch.no_grad():
        weight.copy_(before)
    sgd = torch.optim.SGD(control.parameters(), lr=0.5)
    first = mean_square().detach()
    assert torch.equal(learn_control(control, switch_gradient(0.3, 20, control), sgd), first)
    assert torch.allclose(before - weight.detach(), 0.5 * slope, rtol=1e-5)
