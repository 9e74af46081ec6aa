"""Products of gradients in place of an unrolled step: hand-computed weights, the exact derivative, every layer."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy

from fphi.learnable.weighting import WeightNet, batch_weights
from fphi.networks import BatchNorm
from fphi.objective.example_weights import difference_products, look_ahead, products
from fphi.objective.hypergradient import Step, exact, virtual_step
from fphi.within import Parameters
from fphi.within.implicit import gradient_by

# Squares: f = ½ (x·w - y)².

W = {"w": torch.tensor([1.0, 2.0], dtype=torch.float64)}
X = torch.tensor([[1.0, 0], [0, 1], [1, 1], [2, 0]], dtype=torch.float64)
Y = torch.tensor([0.0, 1, 4, -1], dtype=torch.float64)


def squares(theta: Parameters) -> Tensor:
    return 0.5 * (X @ theta["w"] - Y) ** 2


def clean_square(theta: Parameters) -> Tensor:
    return 0.5 * (theta["w"].sum() - 1) ** 2


def leaves(theta: Parameters) -> Parameters:
    return {k: p.detach().clone().requires_grad_() for k, p in theta.items()}


def unrolled(eta: float) -> Tensor:
    def training(theta: Parameters, phi: Parameters) -> Tensor:
        return phi["epsilon"] @ squares(theta)

    def validation(theta: Parameters, phi: Parameters) -> Tensor:
        return clean_square(theta)

    epsilon = {"epsilon": torch.zeros(4, dtype=torch.float64)}
    return -exact(training, validation, W, epsilon, Step(eta)).gradient["epsilon"]


@pytest.mark.parametrize("eta", [1.0, 0.1, 1e-3])
def test_the_weights_of_four_squares_by_hand(eta: float) -> None:
    theta = leaves(W)
    _, helps = products(squares, theta, gradient_by(clean_square(theta), theta))
    assert helps.tolist() == [2, 2, -4, 12]
    assert torch.allclose(unrolled(eta), eta * helps, rtol=1e-12)
    for found in (batch_weights(helps), batch_weights(unrolled(eta))):
        assert found.tolist() == pytest.approx([0.125, 0.125, 0, 0.75], abs=1e-12)


def linear_weights(losses: Tensor, t: Tensor) -> Tensor:
    return (t[0] + t[1] * losses.detach()).sigmoid()


def test_the_step_of_a_weighting_network_by_hand() -> None:
    """V(L) = σ(t₀ + t₁ L), t = [-1, 0.5], α = 0.1, divided by n."""
    t, theta = torch.tensor([-1.0, 0.5], dtype=torch.float64, requires_grad=True), leaves(W)
    losses = squares(theta)
    assert losses.tolist() == [0.5, 0.5, 0.5, 4.5]
    weights = linear_weights(losses, t)
    assert weights.tolist() == pytest.approx([0.3208213008] * 3 + [0.7772998612], abs=1e-10)
    ahead = virtual_step(W, gradient_by(weights.detach() @ losses / 4, theta, retain_graph=True), Step(0.1))
    assert ahead["w"].tolist() == pytest.approx([0.8834050208, 2], abs=1e-10)
    look = look_ahead(losses, weights / 4, clean_square, theta, Step(0.1))
    assert float(look.loss) == pytest.approx(1.7736072362, abs=1e-10)
    _, helps = products(squares, theta, look.slope)
    (found,) = torch.autograd.grad(-0.1 / 4 * (helps @ weights), t)
    assert found.tolist() == pytest.approx([-0.0489039637, -0.2200678368], abs=1e-10)

    def training(theta: Parameters, phi: Parameters) -> Tensor:
        return (linear_weights(squares(theta), phi["t"]) * squares(theta)).mean()

    by_autograd = exact(training, lambda theta, phi: clean_square(theta), W, {"t": t}, Step(0.1))
    assert torch.allclose(found, by_autograd.gradient["t"], rtol=1e-12)


# Networks: normalised by torch and by fphi, with dropout's place taken by what has no forward derivative.


class Cube(torch.autograd.Function):
    """An operation that has no forward derivative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        slope: Tensor = 3 * x**2 * gradient[0]
        return slope


class Cubed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return Cube.apply(x)  # type: ignore[no-any-return, no-untyped-call]


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.head = nn.Linear(36, 3)

    def forward(self, x: Tensor) -> Tensor:
        out = x.flatten(1, 2)
        return self.head(self.attention(out, out, out, need_weights=False)[0].flatten(1))  # type: ignore[no-any-return]


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.LSTM(6, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x.flatten(1, 2))[0][:, -1])  # type: ignore[no-any-return]


def convolutional(norm: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), norm, nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.Tanh(), nn.Linear(8, 3)),
    "batch norm": lambda: convolutional(nn.BatchNorm2d(4)),
    "own batch norm": lambda: convolutional(BatchNorm(4, "query-batch")),
    "group norm": lambda: convolutional(nn.GroupNorm(2, 4)),
    "layer norm": lambda: convolutional(nn.LayerNorm([4, 4, 4])),
    "no forward derivative": lambda: convolutional(Cubed()),
    "attention": Attending,
    "recurrent": Recurrent,
}


def parameters(module: nn.Module) -> Parameters:
    return {**dict(module.named_parameters())}


def problem(kind: str) -> tuple[nn.Module, Callable[[Parameters], Tensor], Callable[[Parameters], Tensor]]:
    torch.set_default_dtype(torch.float64)
    network = NETWORKS[kind]()
    x, y, clean_x, clean_y = (
        torch.randn(7, 1, 6, 6),
        torch.arange(7) % 3,
        torch.randn(5, 1, 6, 6),
        torch.arange(5) % 3,
    )

    def losses(theta: Parameters, x: Tensor = x, y: Tensor = y) -> Tensor:
        buffers = {k: b.clone() for k, b in network.named_buffers()}
        return cross_entropy(functional_call(network, {**buffers, **theta}, (x,)), y, reduction="none")

    return network, losses, lambda theta: losses(theta, clean_x, clean_y).mean()


@pytest.mark.parametrize("kind", NETWORKS)
def test_products_are_the_unrolled_step_in_every_network(kind: str) -> None:
    network, losses, validation = problem(kind)
    theta = parameters(network)
    towards = gradient_by(validation(theta), theta)
    values, helps = products(losses, theta, towards)
    epsilon = {"epsilon": torch.zeros(7)}
    with sdpa_kernel(SDPBackend.MATH):  # which alone has second derivatives
        wanted = exact(
            lambda t, p: p["epsilon"] @ losses(t), lambda t, p: validation(t), theta, epsilon, Step(0.3)
        )
    assert torch.allclose(0.3 * helps, -wanted.gradient["epsilon"], rtol=1e-6, atol=1e-12)
    assert helps.abs().max() > 1e-3
    # One by one, as the definition has it.
    alone = [gradient_by(losses(theta)[i], theta) for i in range(7)]
    assert helps.tolist() == pytest.approx([sum(float((g[k] * towards[k]).sum()) for k in g) for g in alone])
    # A step can follow; nothing of the products has a graph.
    assert torch.allclose(values, losses(theta))
    assert not helps.requires_grad
    slope, plain = gradient_by(values.mean(), theta), gradient_by(losses(theta).mean(), theta)
    assert all(torch.allclose(slope[k], plain[k]) for k in theta)
    with torch.no_grad():
        constant, again = products(losses, {k: p.detach() for k, p in theta.items()}, towards)
    assert torch.allclose(again, helps)
    assert not constant.requires_grad


@pytest.mark.parametrize("kind", ["linear", "attention", "recurrent"])
def test_differences_are_near_the_products_where_the_network_is_smooth(kind: str) -> None:
    network, losses, validation = problem(kind)
    theta = parameters(network)
    towards = gradient_by(validation(theta), theta)
    _, helps = products(losses, theta, towards)
    near = difference_products(losses, theta, towards, scale=1e-4)
    assert torch.allclose(near, helps, rtol=1e-6, atol=1e-7 * float(helps.abs().max()))
    assert torch.allclose(difference_products(losses, theta, towards), helps, rtol=1e-2, atol=1e-3)
    nowhere = {k: torch.zeros_like(p) for k, p in theta.items()}
    assert difference_products(losses, theta, nowhere).tolist() == [0] * 7


@pytest.mark.parametrize("kind", ["linear", "batch norm", "own batch norm"])
def test_the_weighting_network_s_gradient_is_autograd_s_and_that_of_differences(kind: str) -> None:
    network, losses, validation = problem(kind)
    net, step = WeightNet(6), Step(0.5)
    theta, phi = parameters(network), parameters(net)
    values = losses(theta)
    weights = net(values)
    look = look_ahead(values, weights / 7, validation, theta, step)
    _, helps = products(losses, theta, look.slope)
    found = gradient_by(-0.5 / 7 * (helps @ weights), phi)

    def training(theta: Parameters, phi: Parameters) -> Tensor:
        weights: Tensor = functional_call(net, phi, (losses(theta),))
        return (weights * losses(theta)).mean()

    wanted = exact(training, lambda t, p: validation(t), theta, phi, step)
    assert float(look.loss) == pytest.approx(float(wanted.loss), rel=1e-12)
    assert all(torch.allclose(found[k], wanted.gradient[k], rtol=1e-8, atol=1e-14) for k in phi)
    assert sum(float(g.abs().sum()) for g in found.values()) > 1e-6

    def clean_loss(moved: Parameters) -> float:
        slope = gradient_by(training(theta, moved), theta)
        return float(validation(virtual_step(theta, slope, step)).detach())

    for name, p in phi.items():
        direction = torch.randn_like(p)
        there, back = (clean_loss(phi | {name: p + sign * 1e-5 * direction}) for sign in (1, -1))
        assert float((found[name] * direction).sum()) == pytest.approx(
            (there - back) / 2e-5, rel=1e-4, abs=1e-9
        )


def test_what_is_orthogonal_teaches_nothing() -> None:
    """Examples that read one half of the parameters, and clean ones that read the other."""
    theta = leaves({"w": torch.ones(2, dtype=torch.float64)})
    net = WeightNet(4).double()

    def first(theta: Parameters) -> Tensor:
        return (theta["w"][0] - torch.tensor([3.0, 4.0, 5.0], dtype=torch.float64)) ** 2

    losses = first(theta)
    look = look_ahead(losses, net(losses) / 3, lambda theta: theta["w"][1] ** 2, theta, Step(0.1))
    _, helps = products(first, theta, look.slope)
    assert look.slope["w"].tolist() == [0, 2]
    assert helps.tolist() == [0, 0, 0]
    slope = gradient_by(helps @ net(losses), parameters(net))
    assert all(not g.any() for g in slope.values())


def test_a_batch_that_is_the_clean_one_helps_by_its_mean_gradient() -> None:
    """Σ helps = n ‖mean gradient‖²."""
    network, losses, _ = problem("linear")
    theta = parameters(network)
    mean = gradient_by(losses(theta).mean(), theta)
    _, helps = products(losses, theta, mean)
    assert float(helps.sum()) == pytest.approx(7 * sum(float((g**2).sum()) for g in mean.values()))


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20), st.floats(1e-3, 1e3), st.randoms())
def test_batch_weights_are_shares(descent: list[float], factor: float, order: Any) -> None:
    values = torch.tensor(descent, dtype=torch.float64)
    weights = batch_weights(values)
    assert bool(((weights >= 0) & (weights <= 1)).all())
    assert float(weights.sum()) == pytest.approx(1.0 if (values > 0).any() else 0.0)
    assert torch.allclose(batch_weights(factor * values), weights)
    permutation = order.sample(range(len(descent)), len(descent))
    assert torch.allclose(batch_weights(values[permutation]), weights[permutation])
