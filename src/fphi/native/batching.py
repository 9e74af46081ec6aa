"""A batch dimension of ``vmap`` merged with the task dimension that the kernels have themselves."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor
from torch.autograd import Function
from torch.func import vmap

__all__ = ["are_for_kernels", "merged", "of_any_batch", "signed", "split"]

C = TypeVar("C", bound=type[Function])
Backward = Callable[..., Any]


def merged(tensor: Tensor, dim: int | None, size: int) -> Tensor:
    """``[tasks, ...]``, and a batch dimension of ``size`` at ``dim`` or none, to ``[size * tasks, ...]``."""
    batched = tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
    return batched.reshape(size * batched.shape[1], *batched.shape[2:])


def split(tensor: Tensor, size: int) -> Tensor:
    """The inverse of `merged`, with the batch dimension in front."""
    return tensor.reshape(size, tensor.shape[0] // size, *tensor.shape[1:])


class _Given:
    """The arguments of a call, all of them by position."""

    kwargs: ClassVar[dict[str, Any]] = {}

    def __init__(self, *args: Any) -> None:
        self.args = args

    def apply_defaults(self) -> None:
        """There are none."""


class _AsGiven(inspect.Signature):
    """Binds arguments to no names, which takes as long as a small kernel."""

    bind = _Given  # type: ignore[assignment]


def signed(function: C) -> C:
    """Spare ``apply`` the signature of ``forward``, which torch looks up and binds at every call.

    Every argument must be given by position.
    """
    vars(function.forward)["__signature__"] = _AsGiven()
    return function


def are_for_kernels(*gradients: Tensor | None) -> bool:
    """Whether a kernel may be called on them: no graph is wanted of it, and no transform has hold of them."""
    is_wrapped = torch._C._functorch.is_functorch_wrapped_tensor
    return not torch.is_grad_enabled() and not any(g is not None and is_wrapped(g) for g in gradients)


def of_any_batch(backward: Backward) -> Backward:
    """Of a ``Function``: takes gradients too that torch's older ``vmap`` batches, which asks for no rules.

    ``torch.autograd.grad(…, is_grads_batched=True)`` and ``torch.autograd.functional.jacobian(…,
    vectorize=True)`` use it. The batch is taken off, and it is ``torch.func.vmap`` that goes over it.
    """

    @functools.wraps(backward)
    def of_each(ctx: Any, *gradients: Tensor | None) -> Any:
        is_batched = torch._C._functorch.is_legacy_batchedtensor
        dims = tuple(0 if g is not None and is_batched(g) else None for g in gradients)
        if dims == (None,) * len(dims):
            return backward(ctx, *gradients)
        torch._C._vmapmode_increment_nesting()
        level = torch._C._vmapmode_decrement_nesting()
        plain = [
            g if g is None or dim is None else torch._remove_batch_dim(g, level, 0, dim)
            for g, dim in zip(gradients, dims, strict=True)
        ]
        known: list[bool] = []

        def found(*gradients: Tensor | None) -> tuple[Tensor, ...]:
            all_found = backward(ctx, *gradients)
            known[:] = [a is not None for a in all_found]
            return tuple(a for a in all_found if a is not None)

        batches = iter(vmap(found, in_dims=dims)(*plain))
        return tuple(torch._add_batch_dim(next(batches), 0, level) if a else None for a in known)

    return of_each
