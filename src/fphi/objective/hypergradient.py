"""The bilevel step: the gradient in φ of a validation loss whose θ was, or will be, trained with φ.

For what is learned while one model trains: architectures (DARTS), augmentation policies, weights of examples.
θ and φ are dicts of tensors, and both losses plain functions of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from fphi.errors import FphiError
from fphi.within import Parameters
from fphi.within.implicit import (
    Solve,
    conjugate_gradient,
    dot,
    gradient_by,
    implicit_gradient,
    neumann,
    two_gradients,
)

__all__ = [
    "BilevelLoss",
    "Hypergradient",
    "Solve",
    "Step",
    "conjugate_gradient",
    "exact",
    "finite_difference",
    "first_order",
    "implicit",
    "neumann",
    "virtual_step",
]

# Of θ and φ: a scalar. It changes nothing, and gives the same value again for the same arguments.
BilevelLoss = Callable[[Parameters, Parameters], Tensor]


class Hypergradient(NamedTuple):
    """The validation loss, a scalar, and its gradient in φ; neither is attached to a graph."""

    loss: Tensor
    gradient: Parameters


@dataclass(frozen=True)
class Step:
    """The step of gradient descent that θ is about to take.

    Args:
        lr: ξ.
        momentum: μ.
        weight_decay: added to the gradient, times θ.
        velocity: the momentum buffer, by θ's names; None or a missing name: 0, as before the first step.
    """

    lr: float
    momentum: float = 0.0
    weight_decay: float = 0.0
    velocity: Parameters | None = None


def virtual_step(theta: Parameters, gradient: Parameters, step: Step) -> Parameters:
    """θ' = θ - ξ (μ velocity + gradient + decay θ), new tensors; derivatives flow through.

    >>> import torch
    >>> step = Step(0.1, momentum=0.9, weight_decay=0.01, velocity={"w": torch.tensor(0.5)})
    >>> virtual_step({"w": torch.tensor(1.0)}, {"w": torch.tensor(-1.0)}, step)
    {'w': tensor(1.0540)}
    """
    velocity = step.velocity or {}
    moved = {}
    for name, w in theta.items():
        direction = gradient[name] + step.weight_decay * w
        if name in velocity:
            direction = direction + step.momentum * velocity[name]
        moved[name] = w - step.lr * direction
    return moved


def first_order(validation: BilevelLoss, theta: Parameters, phi: Parameters) -> Hypergradient:
    """∂L_val(θ, φ)/∂φ as if θ were no function of φ: the exact one of a step with ξ = 0."""
    phi = _leaf(phi)
    loss = validation(_detached(theta), phi)
    return Hypergradient(loss.detach(), gradient_by(loss, phi))


def exact(
    training: BilevelLoss, validation: BilevelLoss, theta: Parameters, phi: Parameters, step: Step
) -> Hypergradient:
    """dL_val(θ'(φ), φ)/dφ through the step θ'(φ) = θ - ξ (μ velocity + ∂L_train(θ, φ)/∂θ + decay θ).

    It differentiates a gradient, so it takes the memory of two backward passes.

    Args:
        training: L_train, which θ steps along.
        validation: L_val, of the stepped θ'; it need not depend on φ directly.
        theta: what is trained.
        phi: what is learned.
        step: see `Step`.
    """
    theta, phi = _leaf(theta), _leaf(phi)
    ahead = virtual_step(theta, gradient_by(training(theta, phi), theta, create_graph=True), step)
    loss = validation(ahead, phi)
    return Hypergradient(loss.detach(), gradient_by(loss, phi))


def finite_difference(
    training: BilevelLoss,
    validation: BilevelLoss,
    theta: Parameters,
    phi: Parameters,
    step: Step,
    scale: float = 0.01,
) -> Hypergradient:
    """As `exact`, with a central difference in place of the second derivative (DARTS, arXiv 1806.09055).

    With v = ∂L_val(θ', φ)/∂θ' the second derivative is ∂L_train/∂φ at θ + Rv, less that at θ - Rv, over
    2R; R = ``scale`` / ‖v‖. Both points are new tensors: θ is not moved and so need not be restored.

    Args:
        training: L_train, which θ steps along.
        validation: L_val, of the stepped θ'; it need not depend on φ directly.
        theta: what is trained.
        phi: what is learned.
        step: see `Step`.
        scale: how far the two points are from θ (paper: 0.01).
    """
    if not scale > 0:
        raise FphiError(f"the two points of the difference are {scale} from θ; it must be above 0")
    theta, phi = _leaf(theta), _leaf(phi)
    ahead = _leaf(virtual_step(_detached(theta), gradient_by(training(theta, phi), theta), step))
    loss = validation(ahead, phi)
    v, direct = two_gradients(loss, ahead, phi)
    norm = dot(v, v).sqrt()
    if step.lr == 0 or norm == 0:
        return Hypergradient(loss.detach(), direct)
    radius = scale / norm
    there, back = (
        gradient_by(training({k: w.detach() + sign * radius * v[k] for k, w in theta.items()}, phi), phi)
        for sign in (1, -1)
    )
    total = {k: g - step.lr * (there[k] - back[k]) / (2 * radius) for k, g in direct.items()}
    return Hypergradient(loss.detach(), total)


def implicit(
    training: BilevelLoss, validation: BilevelLoss, theta: Parameters, phi: Parameters, solve: Solve
) -> Hypergradient:
    """dL_val(θ*(φ), φ)/dφ at a minimum θ* of L_train, by the implicit function theorem.

    It is ∂L_val/∂φ - (∂²L_train/∂φ∂θ) H⁻¹ ∂L_val/∂θ with the Hessian H = ∂²L_train/∂θ², which is only ever
    multiplied by vectors. How θ* was found does not matter, and takes no memory.

    Args:
        training: L_train, smooth.
        validation: L_val.
        theta: θ*; elsewhere the result is biased.
        phi: what is learned.
        solve: the inverse: `conjugate_gradient` or `neumann`, with ``functools.partial`` for settings.
    """
    theta, phi = _leaf(theta), _leaf(phi)
    loss = validation(theta, phi)
    total = implicit_gradient(lambda: training(theta, phi), loss, theta, phi, solve)
    return Hypergradient(loss.detach(), total)


def _leaf(parameters: Parameters) -> Parameters:
    """The same values, to be differentiated by; the caller's tensors get no gradients."""
    return {k: p.detach().requires_grad_() for k, p in parameters.items()}


def _detached(parameters: Parameters) -> Parameters:
    return {k: p.detach() for k, p in parameters.items()}
