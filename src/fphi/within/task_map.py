"""Apply a function of one task to a batch of tasks: all at once by ``vmap``, or one after another."""

import math
import warnings
from collections.abc import Callable
from operator import itemgetter
from typing import Any, Literal, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.nn.modules.conv import _ConvNd
from torch.utils._pytree import tree_leaves, tree_map

from fphi.networks.conv4 import ConvBlock
from fphi.ranges import checked
from fphi.within.calls import call_network
from fphi.within.randomness import RandomState
from fphi.within.trial import is_mapped

__all__ = ["Batching", "TaskMap", "call_network", "is_costly", "is_for_kernels", "is_mapped"]

Batching = Literal["auto", "vmap", "loop"]
R = TypeVar("R")


class TaskMap:
    """Maps functions over the leading task dimension of their arguments (trees of tensors).

    ``"auto"`` uses ``vmap`` and falls back to a loop, with one warning, where a function cannot be
    vmapped (control flow that looks at values, an operation without a batching rule).

    Only ever map what holds no derivative of its own: torch 2.13 differentiates ``vmap(grad(f))``
    through its norm layers wrongly, while the derivative of ``vmap(f)``, taken outside, is right.

    >>> TaskMap()(lambda x: x.sum(), torch.ones(3, 4))
    tensor([4., 4., 4.])
    """

    @checked()
    def __init__(self, batching: Batching = "auto") -> None:
        self.batching = batching

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # copies of a learner in worker threads share what has been found out

    def __call__(self, function: Callable[..., Tensor], *batched: Any, costly: bool = False) -> Tensor:
        """``function`` of each task, stacked; ``"auto"`` loops over tasks where batching is ``costly``."""

        def mapped() -> Tensor:
            if self.batching == "loop" or (costly and self.batching == "auto"):
                return _loop(function, batched)
            return vmap(function, randomness="different")(*batched)

        return self.attempt(mapped)

    def attempt(self, compute: Callable[[], R]) -> R:
        """``compute()``, which maps and perhaps differentiates: again in a loop where ``vmap`` refuses.

        Some functions can be mapped, and their derivatives cannot: whoever takes these passes them here.
        """
        if self._is_settled():
            return compute()
        before = RandomState.now(others=False)
        try:
            return compute()
        except (RuntimeError, ValueError) as problem:
            before.restore()  # a seed decides what is drawn, whether or not something failed first
            if self._is_settled():  # meanwhile, by a function inside or by another thread
                return compute()
            return self._in_a_loop(compute, problem)

    def _is_settled(self) -> bool:
        return self.batching != "auto"

    def _in_a_loop(self, compute: Callable[[], R], problem: Exception) -> R:
        self.batching = "loop"
        try:
            answer = compute()  # an error of the function itself shows here, undisguised
        except BaseException:
            self.batching = "auto"
            raise
        reason = str(problem).strip().splitlines()[0]
        warnings.warn(
            f"tasks are looped over, not batched: the network cannot be vmapped ({reason})", stacklevel=5
        )
        return answer


# So many examples of a task, each of this many pixels, keep a core busy: a convolution of all tasks at once,
# which is a grouped one, and torch's norm layers under ``vmap`` are slower then than one task after another.
_ENOUGH, _PIXELS = 10, 28 * 28


def is_costly(network: nn.Module, x: Tensor) -> bool:
    """Whether torch is slower with all tasks ``x: [B, n, *input]`` at once than with one after another."""
    images = x.shape[1] * max(1, math.prod(x.shape[3:]) / _PIXELS)
    return x.device.type == "cpu" and images > _ENOUGH and _convolves(network)


def is_for_kernels(module: nn.Module) -> bool:
    """Whether the native kernels do all of its convolutions, and there are some."""
    blocks = [m for m in module.modules() if isinstance(m, ConvBlock)]
    return bool(blocks) and all(b.is_for_kernels() for b in blocks) and not _convolves(module)


def _convolves(module: nn.Module) -> bool:
    """Whether there is a convolution other than those of our own blocks, which are written to be batched."""
    if isinstance(module, ConvBlock):
        return False
    return isinstance(module, _ConvNd) or any(map(_convolves, module.children()))


def _loop(function: Callable[..., Tensor], batched: tuple[Any, ...]) -> Tensor:
    count = tree_leaves(batched)[0].shape[0]
    return torch.stack([function(*tree_map(itemgetter(i), batched)) for i in range(count)])
