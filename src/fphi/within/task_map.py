"""Apply a function of one task to a batch of tasks: all at once by ``vmap``, or one after another."""

import warnings
from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any, Literal, Self, TypeVar, get_args
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.utils._pytree import tree_leaves, tree_map

from fphi.errors import FphiError
from fphi.within.by_hand import by_hand
from fphi.within.randomness import RandomState, generators_of
from fphi.within.stand_in import EXCHANGE, original, placed

__all__ = ["Batching", "TaskMap", "call_network"]

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

    def __init__(self, batching: Batching = "auto") -> None:
        if batching not in get_args(Batching):
            raise ValueError(f"unknown batching {batching!r}: choose one of {', '.join(get_args(Batching))}")
        self.batching = batching

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # copies of a learner in worker threads share what has been found out

    def __call__(self, function: Callable[..., Tensor], *batched: Any) -> Tensor:

        def mapped() -> Tensor:
            if self.batching == "loop":
                return _loop(function, batched)
            return vmap(function, randomness="different")(*batched)  # type: ignore[no-any-return]

        return self.attempt(mapped)

    def attempt(self, compute: Callable[[], R]) -> R:
        """``compute()``, which maps and perhaps differentiates: again in a loop where ``vmap`` refuses.

        Some functions can be mapped, and their derivatives cannot: whoever takes these passes them here.
        """
        if self.batching != "auto":
            return compute()
        before = RandomState.now(others=False)
        try:
            return compute()
        except (RuntimeError, ValueError) as problem:
            if self.batching != "auto":  # a function inside has settled it: this is no fault of vmap
                raise
            return self._in_a_loop(compute, before, problem)

    def _in_a_loop(self, compute: Callable[[], R], before: RandomState, problem: Exception) -> R:
        before.restore()  # a seed decides what is drawn, whether or not something failed first
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
            return _first_call(network, parameters, inputs, known)
    if changes:
        parameters = {name: p.clone() for name, p in parameters.items()}
    return _call(network, parameters, inputs)


def _call(network: nn.Module, parameters: Mapping[str, Tensor], inputs: tuple[Any, ...]) -> Tensor:
    first = tree_leaves(inputs)[0]
    tensors = {id(b): _scratch(b, first) for b in network.buffers()}
    tensors |= {id(p): parameters[name] for name, p in network.named_parameters() if name in parameters}
    with placed(network, tensors) as at_hand, by_hand(original(network), network.training):
        output: Tensor = at_hand(*inputs)
    return output


def _first_call(
    network: nn.Module, parameters: Mapping[str, Tensor], inputs: tuple[Any, ...], known: dict[bool, bool]
) -> Tensor:
    """A call after which it is known whether such calls change parameters; this one leaves them alone."""
    watched = {id(p): p for p in [*network.parameters(), *parameters.values()] if not _is_mapped(p)}
    if any(nn.parameter.is_lazy(p) for p in watched.values()):
        raise FphiError(
            f"{type(network).__name__} has parameters without a shape yet: pass a batch of examples "
            "through it before it is given to a learner"
        )
    kept = [(p, p.detach().clone(), p._version) for p in watched.values()]
    drawn = RandomState.now(generators_of(network))
    failure = None
    try:
        output = _call(network, parameters, inputs)
    except Exception as error:  # it may have changed some on the way
        failure = error
    changed = any(p._version != version or not torch.equal(p, value) for p, value, version in kept)
    if changed:
        for p, value, _ in kept:
            p.data.copy_(value)
        drawn.restore()
        output = _call(network, {name: p.clone() for name, p in parameters.items()}, inputs)
    elif failure is not None:
        raise failure
    known[network.training] = changed
    return output


def _is_mapped(tensor: Tensor) -> bool:
    return bool(torch._C._functorch.is_functorch_wrapped_tensor(tensor))


def _scratch(buffer: Tensor, x: Tensor) -> Tensor:
    """A copy for the network to update and throw away, batched where ``x`` is."""
    return x.new_zeros(buffer.shape, dtype=buffer.dtype) + buffer
