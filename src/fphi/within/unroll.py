"""One step of within-task training, for a batch of tasks at once, with the derivative order asked for."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd import Function
from torch.utils._pytree import tree_flatten, tree_unflatten

from fphi.within.optimizers import InnerOptimizer, Parameters, State

__all__ = ["Order", "TaskLosses", "descend", "descend_recomputed"]

# 0: no derivative through the step (evaluation). 1: the inner gradient counts as a constant.
Order = Literal[0, 1, 2]
TaskLosses = Callable[[Parameters], Tensor]


def descend(
    losses: TaskLosses,
    optimizer: InnerOptimizer,
    parameters: Parameters,
    state: State,
    step: int,
    order: Order,
) -> tuple[Parameters, State]:
    """Parameters and optimizer state after one inner step.

    Args:
        losses: the support loss of each task ``[B]``, as a function of the batched parameters.
        parameters: by name, ``[B, *shape]``.
        order: how far derivatives with respect to φ can be taken through the step.

    The tasks' parameters are apart, so the gradient of the summed losses holds every task's own.
    """
    if order == 0:
        parameters, state = _detached(parameters), {k: _detached(v) for k, v in state.items()}
    with torch.enable_grad():
        inputs = {k: p if p.requires_grad else p.detach().requires_grad_() for k, p in parameters.items()}
        gradients = torch.autograd.grad(
            losses(inputs).sum(), list(inputs.values()), create_graph=order == 2, materialize_grads=True
        )
    with torch.set_grad_enabled(order > 0):
        return optimizer.update(dict(zip(inputs, gradients, strict=True)), state, inputs, step)


def _detached(parameters: Parameters) -> Parameters:
    return {name: p.detach() for name, p in parameters.items()}


def descend_recomputed(
    losses: TaskLosses,
    optimizer: InnerOptimizer,
    parameters: Parameters,
    state: State,
    step: int,
    order: Order,
    constants: tuple[Tensor, ...],
) -> tuple[Parameters, State]:
    """`descend` that stores only its inputs and computes the step again in the backward pass.

    Memory then does not grow with the steps' activations. ``constants`` are the other tensors that
    the step depends on and a derivative may be wanted of: parameters of the optimizer and of the
    part of the network that is not adapted, and its features.
    """
    flat, structure = tree_flatten((parameters, state))

    def run(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        now, memory = tree_unflatten(list(tensors), structure)
        return tuple(tree_flatten(descend(losses, optimizer, now, memory, step, order))[0])

    return tree_unflatten(list(_Recomputed.apply(run, len(flat), *flat, *constants)), structure)  # type: ignore[no-any-return,no-untyped-call]


class _Recomputed(Function):
    """``run(carried)`` whose graph is built only when its derivative is asked for."""

    @staticmethod
    def forward(ctx: Any, run: Callable[..., tuple[Tensor, ...]], count: int, *tensors: Tensor) -> Any:
        ctx.run, ctx.count = run, count
        ctx.save_for_backward(*tensors)
        with torch.no_grad():
            return tuple(t.detach() for t in run(tuple(t.detach() for t in tensors[:count])))

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> Any:
        carried, constants = ctx.saved_tensors[: ctx.count], ctx.saved_tensors[ctx.count :]
        with torch.enable_grad():
            inputs = [t.detach().requires_grad_() for t in carried]
            outputs = ctx.run(tuple(inputs))
        wanted = [*inputs, *(c for c in constants if c.requires_grad)]
        live = [(o, g) for o, g in zip(outputs, cotangents, strict=True) if o.requires_grad]
        gradients = iter(
            torch.autograd.grad([o for o, _ in live], wanted, [g for _, g in live], allow_unused=True)
        )
        found = [next(gradients) for _ in inputs]
        return None, None, *found, *(next(gradients) if c.requires_grad else None for c in constants)
