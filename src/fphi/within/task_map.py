"""Apply a function of one task to a batch of tasks: all at once by ``vmap``, or one after another."""

import warnings
from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils._pytree import tree_leaves, tree_map

__all__ = ["Batching", "TaskMap", "call_network"]

Batching = Literal["auto", "vmap", "loop"]


class TaskMap:
    """Maps functions over the leading task dimension of their arguments (trees of tensors).

    ``"auto"`` uses ``vmap`` and falls back to a loop, with one warning, where a function cannot be
    vmapped (control flow that looks at values, an operation without a batching rule).

    Only ever map what holds no derivative of its own: torch 2.13 differentiates ``vmap(grad(f))``
    through its norm layers wrongly, while the derivative of ``vmap(f)``, taken outside, is right.

    >>> TaskMap()(lambda x: x.sum(), torch.ones(3, 4))
    tensor([4., 4., 4.])
    """

    def __init__(self, batching: Batching = "auto") -> None:
        if batching not in get_args(Batching):
            raise ValueError(f"unknown batching {batching!r}: choose one of {', '.join(get_args(Batching))}")
        self.batching = batching

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # copies of a learner in worker threads share what has been found out

    def __call__(self, function: Callable[..., Tensor], *batched: Any) -> Tensor:
        if self.batching == "loop":
            return _loop(function, batched)
        try:
            return vmap(function, randomness="different")(*batched)
        except (RuntimeError, ValueError) as problem:
            if self.batching == "vmap":
                raise
            answer = _loop(function, batched)  # an error of the function itself shows here, undisguised
            self.batching = "loop"
            reason = str(problem).strip().splitlines()[0]
            warnings.warn(
                f"tasks are looped over, not batched: the network cannot be vmapped ({reason})", stacklevel=3
            )
            return answer


def _loop(function: Callable[..., Tensor], batched: tuple[Any, ...]) -> Tensor:
    count = tree_leaves(batched)[0].shape[0]
    return torch.stack([function(*tree_map(itemgetter(i), batched)) for i in range(count)])


def call_network(network: nn.Module, parameters: Mapping[str, Tensor], *inputs: Any) -> Tensor:
    """The network's output with these parameters in place of its own; its buffers stay as they are."""
    first = tree_leaves(inputs)[0]
    buffers = {name: _scratch(b, first) for name, b in network.named_buffers()}
    output: Tensor = functional_call(network, (dict(parameters), buffers), inputs)
    return output


def _scratch(buffer: Tensor, x: Tensor) -> Tensor:
    """A copy for torch's own norm layers to update and throw away, batched where ``x`` is."""
    return x.new_zeros(buffer.shape, dtype=buffer.dtype) + buffer
