"""A batch dimension of ``vmap`` merged with the task dimension that the kernels have themselves."""

import inspect
from typing import TypeVar

from torch import Tensor
from torch.autograd import Function

__all__ = ["merged", "signed", "split"]

C = TypeVar("C", bound=type[Function])


def merged(tensor: Tensor, dim: int | None, size: int) -> Tensor:
    """``[tasks, ...]``, and a batch dimension of ``size`` at ``dim`` or none, to ``[size * tasks, ...]``."""
    batched = tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
    return batched.reshape(size * batched.shape[1], *batched.shape[2:])


def split(tensor: Tensor, size: int) -> Tensor:
    """The inverse of `merged`, with the batch dimension in front."""
    return tensor.reshape(size, tensor.shape[0] // size, *tensor.shape[1:])


def signed(function: C) -> C:
    """Keep the signature of ``forward``: torch looks it up at every call, as long as a small kernel takes."""
    vars(function.forward)["__signature__"] = inspect.signature(function.forward)
    return function
