"""Derivatives of whole networks, however they are asked for, are torch's own."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call, grad, jacrev, vmap

from fphi.learnable import GradientLearner
from fphi.networks import Conv4
from fphi.networks.batch_norm import BatchNorm, Mode
from fphi.networks.conv4 import ConvBlock
from fphi.tasks.types import Examples, Task
from fphi.within import sgd
from native_helpers import needs_kernels, numbers, pure_torch

pytestmark = needs_kernels

Parameters = dict[str, Tensor]


def network(norm: Mode = "query-batch") -> Conv4:
    torch.manual_seed(0)
    return Conv4(5, image_size=16, filters=16, norm=norm).double().eval()


def images(count: int = 4) -> Tensor:
    return numbers(count, 1, 16, 16, seed=3)


def same_as_torchs(compute: Callable[[], list[Tensor]]) -> None:
    found = compute()
    with pure_torch():
        right = compute()
    for a, b in zip(found, right, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9 * float(b.detach().abs().max()))


@pytest.mark.parametrize("norm", ["query-batch", "support", "running"])
def test_products_with_the_second_and_third_derivative(norm: Mode) -> None:
    """A gradient that the loss's gradient is computed from: each depends on the network in two ways."""
    module, x = network(norm), images()
    start = {k: p.detach() for k, p in module.named_parameters() if "conv.bias" not in k}
    along = {k: numbers(*p.shape, seed=i) for i, (k, p) in enumerate(start.items())}

    def slope(f: Callable[[Parameters], Tensor]) -> Callable[[Parameters], Tensor]:
        return lambda p: sum(((g * along[k]).sum() for k, g in grad(f)(p).items()), torch.zeros(()))

    def loss(p: Parameters) -> Tensor:
        return F.cross_entropy(functional_call(module, p, (x,)), torch.arange(4))

    same_as_torchs(lambda: list(grad(slope(loss))(start).values()))
    same_as_torchs(lambda: list(grad(slope(slope(loss)))(start).values()))

    def by_autograd() -> list[Tensor]:
        leaves = {k: p.clone().requires_grad_() for k, p in start.items()}
        value = loss(leaves)
        for _ in range(2):
            found = torch.autograd.grad(value, list(leaves.values()), create_graph=True)
            value = sum(((g * along[k]).sum() for k, g in zip(leaves, found, strict=True)), torch.zeros(()))
        return list(torch.autograd.grad(value, list(leaves.values())))

    same_as_torchs(by_autograd)


@pytest.mark.parametrize("order", [1, 2])
def test_a_meta_gradient_that_can_be_differentiated_is_the_same(order: int) -> None:
    learner = GradientLearner(network(), sgd(0.4), 1, order=order)  # type: ignore[arg-type]
    x, y = images(10).view(2, 5, 1, 16, 16), torch.arange(5).expand(2, 5)
    tasks = Task(Examples(x, y), Examples(x + 0.1, y))
    found = [
        torch.autograd.grad(
            learner.task_losses(tasks).mean(),
            list(learner.parameters()),
            create_graph=graph,
            allow_unused=True,
        )
        for graph in (False, True)
    ]
    for plain, with_graph in zip(*found, strict=True):
        assert plain is None or torch.allclose(plain, with_graph, rtol=1e-9, atol=1e-12)


def test_derivatives_by_the_images() -> None:
    module, x = network(), images()

    def score(x: Tensor) -> Tensor:
        squares: Tensor = module(x).square()
        return squares.sum()

    same_as_torchs(lambda: [grad(score)(x)])
    same_as_torchs(lambda: [jacrev(module)(x)])
    same_as_torchs(lambda: [vmap(grad(score))(x.view(2, 2, 1, 16, 16))])
    same_as_torchs(lambda: [grad(lambda x: grad(score)(x).square().sum())(x)])
    assert float(grad(score)(x).detach().abs().sum()) > 1


@pytest.mark.parametrize("downsample", ["pool", "stride", "none"])
def test_second_derivatives_by_reverse_mode_twice_are_those_by_rows(downsample: str) -> None:
    torch.manual_seed(0)
    block = ConvBlock(16, 16, downsample, BatchNorm(16)).double()  # type: ignore[arg-type]
    x, start = numbers(3, 16, 6, 7, seed=1), {k: p.detach() for k, p in block.named_parameters()}
    for name in ("norm.weight", "norm.bias"):

        def loss(value: Tensor, name: str = name) -> Tensor:
            outcome: Tensor = functional_call(block, start | {name: value}, (x,))
            return outcome.pow(3).sum()

        found = jacrev(jacrev(loss))(start[name])
        with pure_torch():
            right = torch.autograd.functional.hessian(loss, start[name])  # type: ignore[no-untyped-call]
        torch.testing.assert_close(found, right, rtol=1e-9, atol=1e-9 * float(right.abs().max()))


@pytest.mark.parametrize("norm", ["query-batch", "running"])
def test_gradients_in_batches_that_autograd_makes_itself(norm: Mode) -> None:
    module, x = network(norm), images()
    start = {k: p.detach() for k, p in module.named_parameters() if "conv.bias" not in k}
    name = "body.1.norm.bias"

    def logits(value: Tensor) -> Tensor:
        found: Tensor = functional_call(module, start | {name: value}, (x,))
        return found

    def gradients(*, batched: bool) -> list[Tensor]:
        leaves = {k: p.clone().requires_grad_() for k, p in start.items()}
        outcome, along = functional_call(module, leaves, (x,)), numbers(3, 4, 5, seed=1)

        def found(along: Tensor, *, batched: bool) -> tuple[Tensor, ...]:
            return torch.autograd.grad(
                outcome, list(leaves.values()), along, retain_graph=True, is_grads_batched=batched
            )

        if batched:
            return list(found(along, batched=True))
        return [torch.stack(a) for a in zip(*(found(a, batched=False) for a in along), strict=True)]

    def by_rows(*, vectorize: bool) -> list[Tensor]:
        functional = torch.autograd.functional
        hessian = functional.hessian(lambda v: logits(v).pow(3).sum(), start[name], vectorize=vectorize)  # type: ignore[no-untyped-call]
        return [functional.jacobian(logits, start[name], vectorize=vectorize), hessian]  # type: ignore[no-untyped-call]

    pairs = zip(
        gradients(batched=True) + by_rows(vectorize=True),
        gradients(batched=False) + by_rows(vectorize=False),
        strict=True,
    )
    for a, b in pairs:
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9 * float(b.abs().max()))
