"""RELAX: the gradient of an expected value in the probabilities of the choices it depends on.

Grathwohl, Choi, Wu, Roeder, Duvenaud: Backpropagation through the Void, ICLR 2018, arXiv 1711.00123. The
value needs no derivative, and is asked for once. Whatever the control variate c is, the mean is exact; c
learns what makes the variance small.
"""

import torch
from torch import Tensor, nn

from fphi.within import Parameters

__all__ = ["learn_control", "relax", "square"]


def relax(
    value: Tensor, log_probability: Tensor, control: tuple[Tensor, Tensor], parameters: Parameters
) -> Parameters:
    """ĝ = [f(b) - c(z̃)] ∇log p(b) + ∇c(z) - ∇c(z̃), of the choices of `fphi.learnable.relaxed`.

    It is attached to the graph of c, so that c can learn from it. With c = 0 it is REINFORCE.

    Args:
        value: f(b), a scalar; or ``[n]``, of n draws at once.
        log_probability: log p(b) of all choices together, a scalar; or ``[n]``.
        control: c(z) and c(z̃), scalars; or ``[n]`` each.
        parameters: what the probabilities are made of, by name; or ``[n, ...]``, each draw its own.
    """
    (c, conditional), found = control, {}
    parts = (_gradient(of, parameters) for of in (log_probability, c, conditional))
    for name, score, slope, other in zip(parameters, *(part.values() for part in parts), strict=True):
        found[name] = _times(value.detach() - conditional, score) + slope - other
    return found


def square(gradient: Parameters) -> Tensor:
    """The mean square of all its numbers: the variance, and a mean that no control variate changes."""
    return torch.cat([g.flatten() for g in gradient.values()]).square().mean()


def learn_control(control: nn.Module, gradient: Parameters, optimizer: torch.optim.Optimizer) -> Tensor:
    """One step of c to a smaller mean(ĝ²), whose value it returns.

    Args:
        control: c.
        gradient: ĝ, from `relax`.
        optimizer: of c's parameters.
    """
    loss = square(gradient)
    parameters = list(control.parameters())
    slopes = torch.autograd.grad(loss, parameters, materialize_grads=True)
    for p, slope in zip(parameters, slopes, strict=True):
        p.grad = slope
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.detach()


def _gradient(of: Tensor, parameters: Parameters) -> Parameters:
    """In the parameters; of a constant it is 0."""
    if not of.requires_grad:
        return {name: torch.zeros_like(p) for name, p in parameters.items()}
    slopes = torch.autograd.grad(
        of.sum(), list(parameters.values()), create_graph=True, materialize_grads=True
    )
    return dict(zip(parameters, slopes, strict=True))


def _times(factor: Tensor, gradient: Tensor) -> Tensor:
    """A factor of each draw."""
    return factor.reshape(*factor.shape, *[1] * (gradient.dim() - factor.dim())).to(gradient.dtype) * gradient
