"""The derivative of what a minimum leads to, by the implicit function theorem; how it was found is no matter.

Parameters are dicts of tensors; a Hessian is never there, but multiplied by vectors.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from fphi.ranges import Range, require_number
from fphi.within.optimizers import Parameters

__all__ = [
    "Linear",
    "Solve",
    "conjugate_gradient",
    "dot",
    "gradient_by",
    "implicit_gradient",
    "neumann",
    "two_gradients",
]

# A symmetric linear map, e.g. v to Hv.
Linear = Callable[[Parameters], Parameters]

# Of H and v: q with Hq = v, or close to it.
Solve = Callable[[Linear, Parameters], Parameters]


def implicit_gradient(
    training: Callable[[], Tensor], validation: Tensor, theta: Parameters, phi: Parameters, solve: Solve
) -> Parameters:
    """dL_val(θ*(φ), φ)/dφ where θ* minimises L_train(θ, φ): ∂L_val/∂φ - (∂²L_train/∂φ∂θ) H⁻¹ ∂L_val/∂θ.

    H = ∂²L_train/∂θ². Of several minima that are apart, as those of a batch of tasks, both losses are sums.

    Args:
        training: computes L_train from ``theta`` and ``phi``; it is called when L_val's graph is gone.
        validation: L_val, computed from them.
        theta: θ*, leaves of both graphs.
        phi: what is learned, such leaves too.
        solve: the inverse of H.
    """
    v, direct = two_gradients(validation, theta, phi)
    slope = gradient_by(training(), theta, create_graph=True)

    def hessian(q: Parameters) -> Parameters:
        return gradient_by(dot(slope, q), theta, retain_graph=True)

    q = solve(hessian, v)
    mixed = gradient_by(dot(slope, q), phi)
    return {k: g - mixed[k] for k, g in direct.items()}


def conjugate_gradient(
    hessian: Linear,
    v: Parameters,
    steps: int = 20,
    damping: float = 0.0,
    tolerance: float = 1e-10,
    tasks: bool = False,
) -> Parameters:
    """(H + damping)⁻¹ v for a positive definite H (Pedregosa, ICML 2016, arXiv 1602.02355).

    Args:
        hessian: H.
        v: the right side.
        steps: products with H at most, 1 or more; as many as there are numbers in θ are exact.
        damping: added to H's eigenvalues, against those near 0.
        tolerance: it ends when the residual's length is below this times that of v, or where H curves
            down or not at all.
        tasks: whether all tensors are ``[tasks, ...]``, and each task has an H of its own: each of these
            systems is then solved as it would be alone.

    Raises:
        FphiError: there are no steps, whose answer would be 0 whatever v is.
    """
    require_number("steps", steps, Range(1))

    def product_of(a: Parameters, b: Parameters) -> Tensor:
        return _dot_by_task(a, b) if tasks else dot(a, b)

    q = {k: torch.zeros_like(x) for k, x in v.items()}
    residual = direction = v
    square = first = product_of(v, v)
    going = torch.ones_like(first, dtype=torch.bool)
    for _ in range(steps):
        going = going & ~(square <= tolerance**2 * first)
        if not going.any():
            break
        product = _axpy(damping, direction, hessian(direction))
        curvature = product_of(direction, product)
        going = going & ~(curvature <= 0)
        length = torch.where(going, square / curvature, 0.0)
        q, residual = _axpy(length, direction, q), _axpy(-length, product, residual)
        square, before = product_of(residual, residual), square
        direction = _axpy(torch.where(going, square / before, 0.0), direction, residual)
    return q


def neumann(hessian: Linear, v: Parameters, steps: int = 20, lr: float = 0.1) -> Parameters:
    """The sum lr Σ (1 - lr H)ʲ v, j = 0 … steps; it tends to H⁻¹ v (Lorraine et al. 2020, arXiv 1911.02590).

    Args:
        hessian: H, whose largest eigenvalue must be below 2 / ``lr``, or the sum grows without end.
        v: the right side.
        steps: products with H: that many steps of gradient descent are unrolled, from θ*.
        lr: their learning rate.
    """
    term = total = v
    for _ in range(steps):
        term = _axpy(-lr, hessian(term), term)
        total = _axpy(1.0, term, total)
    return {k: lr * x for k, x in total.items()}


def gradient_by(
    loss: Tensor, parameters: Parameters, create_graph: bool = False, retain_graph: bool | None = None
) -> Parameters:
    """The loss's gradient by name; 0 for what it does not depend on."""
    if not loss.requires_grad:
        return {k: torch.zeros_like(p) for k, p in parameters.items()}
    gradients = torch.autograd.grad(
        loss,
        list(parameters.values()),
        create_graph=create_graph,
        retain_graph=retain_graph,
        materialize_grads=True,
    )
    return dict(zip(parameters, gradients, strict=True))


def two_gradients(loss: Tensor, theta: Parameters, phi: Parameters) -> tuple[Parameters, Parameters]:
    """In θ and in φ, by one backward pass."""
    both = torch.autograd.grad(loss, [*theta.values(), *phi.values()], materialize_grads=True)
    return dict(zip(theta, both, strict=False)), dict(zip(phi, both[len(theta) :], strict=True))


def dot(a: Parameters, b: Parameters) -> Tensor:
    """The inner product, a scalar."""
    return torch.stack([(a[k] * b[k]).sum() for k in a]).sum()


def _dot_by_task(a: Parameters, b: Parameters) -> Tensor:
    """Those of each task ``[tasks]``."""
    return torch.stack([(a[k] * b[k]).flatten(1).sum(1) for k in a]).sum(0)


def _axpy(factor: Tensor | float, x: Parameters, y: Parameters) -> Parameters:
    """Factor times x, plus y; a factor ``[tasks]`` is one for each task."""
    if not isinstance(factor, Tensor) or factor.dim() == 0:
        return {k: factor * x[k] + y[k] for k in y}
    return {k: factor.view(-1, *[1] * (x[k].dim() - 1)) * x[k] + y[k] for k in y}
