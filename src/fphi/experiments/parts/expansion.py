"""The inner gradients of two minibatches, and their expansion in the inner rate (Nichol et al. 2018)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["InnerGradients", "inner_gradients", "length"]

Parameters = Mapping[str, Tensor]
Losses = Callable[[Parameters], Tensor]


@dataclass(frozen=True)
class InnerGradients:
    """Of two steps of gradient descent, each on a minibatch of its own; all by parameter name.

    Args:
        first: g₁, the gradient of the first minibatch at φ.
        second: g₂, that of the second minibatch at φ - α g₁.
        second_at_start: ḡ₂, that of the second minibatch at φ.
        turned: H̄₂ ḡ₁, the Hessian of the second minibatch at φ times ḡ₁ = g₁.
    """

    first: Parameters
    second: Parameters
    second_at_start: Parameters
    turned: Parameters

    def identity_error(self, gradient: Parameters) -> float:
        """How far a gradient is from g₁ + g₂, relative to that: of Reptile's it is 0 but for rounding."""
        both = {name: g + self.second[name] for name, g in self.first.items()}
        return length({name: gradient[name] - g for name, g in both.items()}) / length(both)

    def remainders(self, rate: float) -> tuple[float, float]:
        """What is left of g₂ beyond ḡ₂, which falls with α, and beyond ḡ₂ - α H̄₂ ḡ₁, which falls with α²."""
        beyond = {name: g - self.second_at_start[name] for name, g in self.second.items()}
        further = {name: g + rate * self.turned[name] for name, g in beyond.items()}
        return length(beyond), length(further)


def inner_gradients(losses: Sequence[Losses], start: Parameters, rate: float) -> InnerGradients:
    """The gradients of two steps from ``start``, by torch's own derivatives.

    Args:
        losses: of the two minibatches, as functions of the parameters.
        start: φ, by name.
        rate: α.
    """
    at = {name: p.detach().requires_grad_() for name, p in start.items()}
    first = _gradient(losses[0], at)
    moved = {name: p.detach() - rate * first[name] for name, p in at.items()}
    second = _gradient(losses[1], moved)
    values = list(at.values())
    held = torch.autograd.grad(losses[1](at), values, create_graph=True, materialize_grads=True)
    along = torch.stack([(g * first[name]).sum() for name, g in zip(at, held, strict=True)]).sum()
    turned = torch.autograd.grad(along, values, materialize_grads=True)
    return InnerGradients(
        first,
        second,
        {name: g.detach() for name, g in zip(at, held, strict=True)},
        dict(zip(at, turned, strict=True)),
    )


def length(tensors: Parameters) -> float:
    """Of all of them as one vector."""
    return float(torch.stack([t.detach().square().sum() for t in tensors.values()]).sum().sqrt())


def _gradient(loss: Losses, parameters: Parameters) -> dict[str, Tensor]:
    own = {name: p.detach().requires_grad_() for name, p in parameters.items()}
    return dict(
        zip(own, torch.autograd.grad(loss(own), list(own.values()), materialize_grads=True), strict=True)
    )
