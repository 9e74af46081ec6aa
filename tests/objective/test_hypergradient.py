"""The bilevel step: hand-computed values, the exact derivative, ridge regression in closed form."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy

from fphi.errors import FphiError
from fphi.objective.hypergradient import (
    BilevelLoss,
    Hypergradient,
    Solve,
    Step,
    conjugate_gradient,
    exact,
    finite_difference,
    first_order,
    implicit,
    neumann,
    virtual_step,
)
from fphi.within import Parameters


def number(x: float) -> Tensor:
    return torch.tensor(x, dtype=torch.float64)


def randn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def relative_error(a: Parameters, b: Parameters) -> float:
    difference, size = (torch.cat([x.flatten() for x in p]) for p in (
        [a[k] - b[k] for k in a], [b[k] for k in a],
    ))  # fmt: skip
    return float(difference.norm() / size.norm())


# One number: L_train = ½ (w - α)², L_val = ½ (w - 3)², w = 1, α = 2, ξ = 0.1.

W, ALPHA = {"w": number(1.0)}, {"alpha": number(2.0)}
PLAIN = Step(0.1)
FULL = Step(0.1, momentum=0.9, weight_decay=0.01, velocity={"w": number(0.5)})


def scalar_training(theta: Parameters, phi: Parameters) -> Tensor:
    return 0.5 * (theta["w"] - phi["alpha"]) ** 2


def scalar_validation(theta: Parameters, phi: Parameters) -> Tensor:
    return 0.5 * (theta["w"] - 3) ** 2


@pytest.mark.parametrize(("step", "reached", "gradient"), [(PLAIN, 1.1, -0.19), (FULL, 1.054, -0.1946)])
def test_the_scalar_step_by_hand(step: Step, reached: float, gradient: float) -> None:
    slope = {"w": W["w"] - ALPHA["alpha"]}
    assert float(virtual_step(W, slope, step)["w"]) == pytest.approx(reached, abs=1e-12)
    for result in (
        exact(scalar_training, scalar_validation, W, ALPHA, step),
        finite_difference(scalar_training, scalar_validation, W, ALPHA, step),
        finite_difference(scalar_training, scalar_validation, W, ALPHA, step, scale=3.0),  # for every R
    ):
        assert float(result.gradient["alpha"]) == pytest.approx(gradient, abs=1e-10)
        assert float(result.loss) == pytest.approx(0.5 * (reached - 3) ** 2, abs=1e-12)
        assert not result.loss.requires_grad


@given(
    *[st.floats(-3, 3) for _ in range(4)], st.floats(0, 0.5), st.floats(0, 0.99), st.floats(0, 0.1)
)  # fmt: skip
@settings(max_examples=50, deadline=None)
def test_the_scalar_step_in_closed_form(
    w: float, a: float, velocity: float, target: float, lr: float, momentum: float, decay: float
) -> None:
    step = Step(lr, momentum, decay, {"w": number(velocity)})
    theta, phi = {"w": number(w)}, {"alpha": number(a)}

    def validation(theta: Parameters, phi: Parameters) -> Tensor:
        return 0.5 * (theta["w"] - target) ** 2

    reached = w - lr * (momentum * velocity + (w - a) + decay * w)
    for result in (
        exact(scalar_training, validation, theta, phi, step),
        finite_difference(scalar_training, validation, theta, phi, step),
    ):
        assert float(result.gradient["alpha"]) == pytest.approx(lr * (reached - target), abs=1e-9)


def test_the_virtual_step_is_that_of_torch() -> None:
    w = torch.nn.Parameter(randn(5, seed=0))
    optimizer = torch.optim.SGD([w], 0.1, momentum=0.9, weight_decay=0.05)
    for seed in range(1, 4):
        gradient = randn(5, seed=seed)
        state = optimizer.state[w]
        velocity = {"w": state["momentum_buffer"]} if state else None
        ahead = virtual_step({"w": w.detach()}, {"w": gradient}, Step(0.1, 0.9, 0.05, velocity))["w"]
        w.grad = gradient
        optimizer.step()
        assert torch.allclose(ahead, w.detach(), atol=1e-14)


# A net of two layers, φ = weights of its examples and a penalty.

X, Y = randn(12, 5, seed=1), torch.arange(12) % 3


def net(theta: Parameters, x: Tensor) -> Tensor:
    return (x @ theta["first"] + theta["bias"]).tanh() @ theta["second"]


def net_training(theta: Parameters, phi: Parameters) -> Tensor:
    losses = cross_entropy(net(theta, X[:6]), Y[:6], reduction="none")
    return (phi["weights"].softmax(0) * losses).sum() + phi["decay"].exp() * theta["first"].square().sum()


def net_validation(theta: Parameters, phi: Parameters) -> Tensor:
    return cross_entropy(net(theta, X[6:]), Y[6:]) + phi["decay"] ** 2


def net_parameters(seed: int) -> tuple[Parameters, Parameters]:
    theta = {
        "first": randn(5, 7, seed=seed), "bias": randn(7, seed=seed + 1), "second": randn(7, 3, seed=seed + 2),
    }  # fmt: skip
    return theta, {"weights": randn(6, seed=seed + 3), "decay": number(-2.0)}


@given(st.integers(0, 10_000), st.floats(0.01, 0.5))
@settings(max_examples=25, deadline=None)
def test_the_finite_difference_is_near_the_exact_derivative(seed: int, lr: float) -> None:
    theta, phi = net_parameters(seed)
    step = Step(lr, 0.9, 3e-4, {k: randn(*p.shape, seed=seed + 9) for k, p in theta.items()})
    wanted = exact(net_training, net_validation, theta, phi, step)
    got = finite_difference(net_training, net_validation, theta, phi, step)
    assert got.loss == wanted.loss
    assert relative_error(got.gradient, wanted.gradient) < 1e-3
    # Also what comes through θ' alone: L_val does not depend on the weights.
    weights = [{"weights": result.gradient["weights"]} for result in (got, wanted)]
    assert float(weights[1]["weights"].norm()) > 0
    assert relative_error(*weights) < 1e-3


def test_the_exact_derivative_is_that_of_moving_phi() -> None:
    theta, phi = net_parameters(3)
    step = Step(0.3, 0.9, 3e-4, {k: randn(*p.shape, seed=9) for k, p in theta.items()})

    def of_weights(weights: Tensor) -> Tensor:
        moved = phi | {"weights": weights}
        leaf = {k: p.clone().requires_grad_() for k, p in theta.items()}
        slopes = torch.autograd.grad(net_training(leaf, moved), list(leaf.values()))
        ahead = virtual_step(theta, dict(zip(theta, slopes, strict=True)), step)
        return net_validation(ahead, moved).detach()

    gradient = exact(net_training, net_validation, theta, phi, step).gradient["weights"]
    for i in range(6):
        shift = 1e-5 * torch.eye(6, dtype=torch.float64)[i]
        slope = (of_weights(phi["weights"] + shift) - of_weights(phi["weights"] - shift)) / 2e-5
        assert float(slope) == pytest.approx(float(gradient[i]), rel=1e-5, abs=1e-10)


def test_without_a_step_all_are_the_first_order() -> None:
    theta, phi = net_parameters(0)
    wanted = first_order(net_validation, theta, phi)
    for form in (exact, finite_difference):
        got = form(net_training, net_validation, theta, phi, Step(0.0, 0.9, 0.1))
        assert got.loss == wanted.loss
        assert all(torch.equal(got.gradient[k], wanted.gradient[k]) for k in phi)
    # What L_val does not depend on has a gradient of 0.
    assert torch.equal(wanted.gradient["weights"], torch.zeros(6, dtype=torch.float64))
    assert float(first_order(scalar_validation, W, ALPHA).gradient["alpha"]) == 0


def test_nothing_of_the_caller_is_changed() -> None:
    theta, phi = net_parameters(0)
    for p in (*theta.values(), *phi.values()):
        p.requires_grad_()
    before = {k: p.detach().clone() for k, p in (theta | phi).items()}
    calls: list[Hypergradient] = [
        form(net_training, net_validation, theta, phi, Step(0.1)) for form in (exact, finite_difference)
    ]
    calls += [implicit(net_training, net_validation, theta, phi, s) for s in (conjugate_gradient, neumann)]
    assert len(calls) == 4
    for name, p in (theta | phi).items():
        assert torch.equal(p, before[name])
        assert p.grad is None


def test_a_flat_validation_loss_has_no_direction() -> None:
    def flat(theta: Parameters, phi: Parameters) -> Tensor:
        return (theta["w"] * 0 + phi["alpha"] ** 2).sum()

    assert float(finite_difference(scalar_training, flat, W, ALPHA, PLAIN).gradient["alpha"]) == 4
    with pytest.raises(FphiError, match="above 0"):
        finite_difference(scalar_training, flat, W, ALPHA, PLAIN, scale=0)


# Ridge regression: L_train = ½ ‖Aw - b‖² + ½ e^φ ‖w‖², its minimum w* in closed form.

A, B, A_VAL, B_VAL = (randn(8, 4, seed=1), randn(8, seed=2), randn(6, 4, seed=3), randn(6, seed=4))


def ridge_training(theta: Parameters, phi: Parameters) -> Tensor:
    return 0.5 * (A @ theta["w"] - B).square().sum() + 0.5 * phi["penalty"].exp() * theta["w"].square().sum()


def ridge_validation(theta: Parameters, phi: Parameters) -> Tensor:
    return 0.5 * (A_VAL @ theta["w"] - B_VAL).square().sum()


def ridge(penalty: float) -> tuple[Tensor, Tensor, float]:
    """The Hessian, w*, and the derivative of L_val(w*(φ)): -λ (∂L_val/∂w)ᵀ H⁻¹ w*."""
    lam = number(penalty).exp()
    hessian = A.T @ A + lam * torch.eye(4, dtype=torch.float64)
    w = torch.linalg.solve(hessian, A.T @ B)
    slope = A_VAL.T @ (A_VAL @ w - B_VAL)
    return hessian, w, float(-lam * slope @ torch.linalg.solve(hessian, w))


@pytest.mark.parametrize("penalty", [-3.0, 0.0, 2.0])
def test_the_implicit_gradient_of_ridge_regression(penalty: float) -> None:
    hessian, w, wanted = ridge(penalty)
    largest = float(torch.linalg.eigvalsh(hessian)[-1])
    phi = {"penalty": number(penalty)}
    solvers: list[Solve] = [conjugate_gradient, partial(neumann, steps=4000, lr=1 / largest)]
    for solve in solvers:
        got = implicit(ridge_training, ridge_validation, {"w": w}, phi, solve)
        assert float(got.gradient["penalty"]) == pytest.approx(wanted, rel=1e-6)
    # And that is the derivative: move φ, solve anew.
    there, back = (ridge_validation({"w": ridge(penalty + d)[1]}, phi) for d in (1e-5, -1e-5))
    assert float(there - back) / 2e-5 == pytest.approx(wanted, rel=1e-6)


def test_the_neumann_series_tends_to_the_conjugate_gradient() -> None:
    hessian, _, _ = ridge(0.0)
    v = {"w": randn(4, seed=5)}

    def product(q: Parameters) -> Parameters:
        return {"w": hessian @ q["w"]}

    wanted = conjugate_gradient(product, v)
    assert torch.allclose(hessian @ wanted["w"], v["w"], atol=1e-9)
    lr = 1 / float(torch.linalg.eigvalsh(hessian)[-1])
    errors = [relative_error(neumann(product, v, steps, lr), wanted) for steps in (0, 5, 20, 80, 1000)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-9
    assert torch.equal(neumann(product, v, 0, lr)["w"], lr * v["w"])
    # Damping is added to the eigenvalues.
    damped = conjugate_gradient(product, v, damping=2.0)["w"]
    assert torch.allclose((hessian + 2 * torch.eye(4, dtype=torch.float64)) @ damped, v["w"], atol=1e-9)


def test_the_conjugate_gradient_ends_where_there_is_no_curvature() -> None:
    v = {"w": randn(4, seed=5)}
    assert float(conjugate_gradient(lambda q: {"w": -q["w"]}, v)["w"].norm()) == 0
    zero = {"w": torch.zeros(4)}
    assert torch.equal(conjugate_gradient(lambda q: q, zero)["w"], zero["w"])


def test_one_unrolled_step_is_the_first_term_of_the_series() -> None:
    """With L_val's slope that of θ, since a linear L_val has the same slope everywhere."""
    theta, phi = net_parameters(2)
    slopes = {k: randn(*p.shape, seed=5) for k, p in theta.items()}

    def linear(theta: Parameters, phi: Parameters) -> Tensor:
        return torch.stack([(slopes[k] * theta[k]).sum() for k in theta]).sum()

    losses: tuple[BilevelLoss, BilevelLoss] = (net_training, linear)
    one = exact(*losses, theta, phi, Step(0.2))
    series = implicit(*losses, theta, phi, partial(neumann, steps=0, lr=0.2))
    assert relative_error(series.gradient, one.gradient) < 1e-12
