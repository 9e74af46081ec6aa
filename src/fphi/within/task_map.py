"""Apply a function of one task to a batch of tasks: all at once by ``vmap``, or one after another."""

import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from operator import itemgetter
from typing import Any, Literal, Self, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.nn.modules.conv import _ConvNd
from torch.utils._pytree import tree_leaves, tree_map

from fphi.errors import FphiError
from fphi.networks.batch_norm import trial_pass
from fphi.networks.conv4 import ConvBlock
from fphi.ranges import checked
from fphi.within.by_hand import by_hand
from fphi.within.randomness import RandomState, generators_of
from fphi.within.stand_in import EXCHANGE, original, own_parameters, placed

__all__ = ["Batching", "TaskMap", "call_network", "is_costly", "is_mapped"]

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


# So many examples of a task keep a core busy: a convolution of all tasks at once, which is a grouped one, and
# torch's norm layers under ``vmap`` are slower then than one task after another.
_ENOUGH = 10


def is_costly(network: nn.Module, x: Tensor) -> bool:
    """Whether torch is slower with all tasks ``x: [B, n, *input]`` at once than with one after another."""
    return x.device.type == "cpu" and x.shape[1] > _ENOUGH and _convolves(network)


def _convolves(module: nn.Module) -> bool:
    """Whether there is a convolution other than those of our own blocks, which are written to be batched."""
    if isinstance(module, ConvBlock):
        return False
    return isinstance(module, _ConvNd) or any(map(_convolves, module.children()))


def _loop(function: Callable[..., Tensor], batched: tuple[Any, ...]) -> Tensor:
    count = tree_leaves(batched)[0].shape[0]
    return torch.stack([function(*tree_map(itemgetter(i), batched)) for i in range(count)])


# By network and mode: whether a call of it changes its parameters, which is found out at the first.
_CHANGES: WeakKeyDictionary[nn.Module, dict[bool, bool]] = WeakKeyDictionary()


def call_network(network: nn.Module, parameters: Mapping[str, Tensor], *inputs: Any) -> Tensor:
    """The network's output with these parameters in place of its own.

    Whatever the network does to itself in the call (move its buffers, renormalise a parameter, set an
    attribute) is gone afterwards, and other threads may call it at the same time.
    """
    known = _CHANGES.setdefault(original(network), {})
    changes = known.get(network.training)
    if changes is None:
        with EXCHANGE:
            changes = _changes(network, parameters, inputs)
        if changes is not None:
            known[network.training] = changes
    if changes:
        parameters = {name: p.clone() for name, p in parameters.items()}
    return _call(network, parameters, inputs)


def _call(network: nn.Module, parameters: Mapping[str, Tensor], inputs: tuple[Any, ...]) -> Tensor:
    first = tree_leaves(inputs)[0]
    with EXCHANGE:
        tensors = {id(b): _scratch(b, first) for b in network.buffers()}
    own = own_parameters(network)
    tensors |= {id(p): parameters[name] for name, p in own.items() if name in parameters}
    with placed(network, tensors) as at_hand, by_hand(original(network), network.training):
        output: Tensor = at_hand(*inputs)
    return output


@torch.no_grad()
def _changes(network: nn.Module, parameters: Mapping[str, Tensor], inputs: tuple[Any, ...]) -> bool | None:
    """Whether a call changes parameters, tried by one that leaves them and all generators as they were.

    None: it failed, and so does the call that counts.
    """
    _require_exchangeable(network)
    # ``data``: a change of what autograd knows of, even one that is undone, would change derivatives.
    given = {name: p.detach() if is_mapped(p) else p.data for name, p in parameters.items()}
    watched = {id(p): p for p in [*network.parameters(), *given.values()] if not is_mapped(p)}
    kept = [(p, p.detach().clone(), p._version) for p in watched.values()]
    drawn = RandomState.now(generators_of(network))
    answered = False
    with suppress(Exception), trial_pass():  # the call that counts will raise it
        _call(network, given, inputs)
        answered = True
    changed = any(p._version != version or not torch.equal(p, value) for p, value, version in kept)
    if changed:
        for p, value, _ in kept:
            p.data.copy_(value)
    drawn.restore()
    torch.clear_autocast_cache()
    return changed if answered else None


def _require_exchangeable(network: nn.Module) -> None:
    """Raise an `FphiError` if a network has parameters that others cannot take the place of."""
    if any(nn.parameter.is_lazy(p) for p in network.parameters()):
        raise FphiError(
            f"{type(network).__name__} has parameters without a shape yet: pass a batch of examples "
            "through it before it is given to a learner"
        )
    compiled = [m for m in network.modules() if isinstance(m, torch.jit.ScriptModule)]
    if compiled:
        raise FphiError(
            f"{type(compiled[0]).__name__} is made by torch.jit and keeps its parameters to itself, so that "
            "no step could change them: give the module that it was made from"
        )


def is_mapped(tensor: Tensor) -> bool:
    """Whether ``torch.func`` maps or differentiates over it, so that it has no value to look at."""
    return bool(torch._C._functorch.is_functorch_wrapped_tensor(tensor))


def _scratch(buffer: Tensor, x: Tensor) -> Tensor:
    """A copy for the network to update and throw away, batched where ``x`` is."""
    return x.new_zeros(buffer.shape, dtype=buffer.dtype) + buffer
