"""The hypergradient where φ weighs training examples, without a copy of the network that is unrolled.

With L_train = Σ vᵢ Lᵢ(θ) and a step θ' = θ - ξ Σ vᵢ ∂Lᵢ/∂θ the chain rule leaves one number for each example:
∂L_val(θ')/∂vᵢ = -ξ ⟨∂L_val(θ')/∂θ', ∂Lᵢ(θ)/∂θ⟩. `fphi.objective.hypergradient.exact` unrolls the step and
gives the same.
"""

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

from fphi.objective.hypergradient import Step, virtual_step
from fphi.within import Parameters
from fphi.within.implicit import dot, gradient_by
from fphi.within.randomness import RandomState

__all__ = ["ExampleLosses", "Look", "difference_products", "look_ahead", "primal", "products"]

_make_dual: Callable[[Tensor, Tensor], Tensor] = forward_ad.make_dual
_unpack_dual: Callable[[Tensor], Any] = forward_ad.unpack_dual

# Of θ: the losses [n] of the examples. It changes nothing, and gives the same again for the same θ.
ExampleLosses = Callable[[Parameters], Tensor]


class Look(NamedTuple):
    """What a step would lead to.

    Attributes:
        loss: L_val there, a scalar without a graph.
        slope: its gradient in θ', by name.
    """

    loss: Tensor
    slope: Parameters


def look_ahead(
    losses: Tensor, weights: Tensor, validation: Callable[[Parameters], Tensor], theta: Parameters, step: Step
) -> Look:
    """L_val and its gradient after the step on Σ vᵢ Lᵢ.

    Args:
        losses: Lᵢ ``[n]``, computed from ``theta``; their graph stays, for the step that is taken.
        weights: v ``[n]``.
        validation: L_val.
        theta: θ, leaves of the losses' graph.
        step: the one that looks ahead.
    """
    gradient = gradient_by(weights.detach() @ losses, theta, retain_graph=True)
    ahead = virtual_step({k: p.detach() for k, p in theta.items()}, gradient, step)
    ahead = {k: p.requires_grad_() for k, p in ahead.items()}
    loss = validation(ahead)
    return Look(loss.detach(), gradient_by(loss, ahead))


def products(losses: ExampleLosses, theta: Parameters, direction: Parameters) -> tuple[Tensor, Tensor]:
    """The losses, and ⟨∂Lᵢ/∂θ, direction⟩ of each, both ``[n]``, by one pass of dual numbers.

    No gradient of an example is ever there. The losses are attached to ``theta`` where this requires
    gradients, so that a step can follow; the products are not. A network whose operations have no forward
    derivative (functions of `torch.autograd.Function` mostly) has its backward pass differentiated instead.
    """
    _make_ready()
    before = RandomState.now(others=False)
    try:
        # Attention by its formula: the fast ones have no derivative of this kind.
        with forward_ad.dual_level(), sdpa_kernel(SDPBackend.MATH):
            dual = {k: _make_dual(p, direction[k]) for k, p in theta.items()}
            values, slopes = _unpack_dual(losses(dual))
    except (NotImplementedError, RuntimeError) as error:
        if not any(sign in str(error) for sign in ("forward AD", "forward mode", "jvp")):
            raise
        before.restore()
        return _products_backward(losses, theta, direction)
    return values, torch.zeros_like(values) if slopes is None else slopes.detach()


def difference_products(
    losses: ExampleLosses, theta: Parameters, direction: Parameters, scale: float = 0.01
) -> Tensor:
    """`products` without the losses, by a central difference: two passes that keep nothing.

    As in DARTS (arXiv 1806.09055). It crosses kinks of ReLUs, and of float32 it has some four digits.

    Args:
        losses: see `products`.
        theta: see `products`.
        direction: see `products`.
        scale: distance from θ to the two points.
    """
    norm = dot(direction, direction).sqrt()
    radius = scale / norm if bool(norm > 0) else norm
    with torch.no_grad():
        before = RandomState.now(others=False)
        there = losses({k: p + radius * direction[k] for k, p in theta.items()})
        before.restore()
        back = losses({k: p - radius * direction[k] for k, p in theta.items()})
    return (there - back) * (norm / (2 * scale))


def primal(tensor: Tensor) -> Tensor:
    """Within the losses that `products` calls, the value alone of a dual number, without a graph."""
    value: Tensor = _unpack_dual(tensor).primal.detach()
    return value


@cache
def _make_ready() -> None:
    """Dual numbers are there once torch has compiled their formulas, of which it warns that it is old."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with forward_ad.dual_level():
            _make_dual(torch.zeros(1), torch.zeros(1))


def _products_backward(
    losses: ExampleLosses, theta: Parameters, direction: Parameters
) -> tuple[Tensor, Tensor]:
    """Σ vᵢ ∂Lᵢ/∂θ is linear in v: its derivative in v, towards the direction, is the products."""
    leaves = {k: p if p.requires_grad else p.detach().requires_grad_() for k, p in theta.items()}
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        values = losses(leaves)
        v = torch.zeros_like(values, requires_grad=True)
        slopes = gradient_by(v @ values, leaves, create_graph=True)
        along = torch.stack([(slopes[k] * direction[k]).sum() for k in slopes]).sum()
    found = gradient_by(along, {"v": v}, retain_graph=True)["v"]
    attached = any(p.requires_grad for p in theta.values())
    return values if attached else values.detach(), found
