"""What the tests of the native kernels share: derivatives of every order, and the kernels switched off."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from fphi.native.library import library

needs_kernels = pytest.mark.skipif(
    library() is None, reason="no native kernels were compiled for this processor"
)


@contextmanager
def pure_torch() -> Iterator[None]:
    before = os.environ.get("FPHI_NATIVE")
    os.environ["FPHI_NATIVE"] = "0"
    library.cache_clear()
    try:
        yield
    finally:
        if before is None:
            del os.environ["FPHI_NATIVE"]
        else:
            os.environ["FPHI_NATIVE"] = before
        library.cache_clear()


def numbers(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def derivatives(function: Callable[..., Tensor], inputs: Sequence[Tensor], order: int) -> list[Tensor]:
    """Value, gradient, gradient of a combination of the gradient's entries, and so on, up to ``order``."""
    inputs = [a.detach().clone().requires_grad_() for a in inputs]
    outcomes = [function(*inputs)]
    found = list(outcomes)
    for level in range(order):
        along = [
            numbers(*o.shape, seed=100 * level + i, dtype=o.dtype).requires_grad_()
            for i, o in enumerate(outcomes)
        ]
        gradients = torch.autograd.grad(
            outcomes, inputs, along, create_graph=level < order - 1, allow_unused=True
        )
        outcomes = [
            a.detach() * 0 + 0 * sum(b.sum() for b in inputs) if g is None else g
            for a, g in zip(inputs, gradients, strict=True)
        ]
        found += outcomes
        inputs = [*inputs, *along]
    return [a.detach() for a in found]


def deviation(found: Sequence[Tensor], right: Sequence[Tensor]) -> float:
    """The largest relative distance between tensors, by their norms."""
    pairs = zip(found, right, strict=True)
    return max(float((a.double() - b.double()).norm() / (b.double().norm() + 1e-30)) for a, b in pairs)
