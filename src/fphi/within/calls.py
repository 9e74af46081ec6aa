"""A call of a user's network or loss that leaves it, and what it was given, as they were."""

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils._pytree import tree_leaves, tree_map

from fphi.errors import FphiError
from fphi.networks.batch_norm import trial_pass
from fphi.within.by_hand import by_hand
from fphi.within.cross_entropy import mapped_cross_entropy, of_classes
from fphi.within.stand_in import EXCHANGE, original, own_parameters, placed
from fphi.within.surroundings import own_cache
from fphi.within.trial import Facts, Writes, beneath, is_mapped, tried

__all__ = ["call_loss", "call_network", "last_path"]

# By network, and by the path that a call of it takes as far as its attributes and inputs say it.
_FACTS: WeakKeyDictionary[nn.Module, dict[int, Facts]] = WeakKeyDictionary()
_PATHS = 64  # A network whose attributes change with every call is not tried for ever.

# The path of the last call in this thread.
_LAST: ContextVar[int] = ContextVar("last", default=0)

# By loss: whether it changes what it is given, which is found out at its first call.
_LOSSES: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


def call_network(network: nn.Module, parameters: Mapping[str, Tensor], *inputs: Any) -> Tensor:
    """The network's output with these parameters in place of its own.

    Whatever the network does in the call to itself (move its buffers, renormalise a parameter, set an
    attribute) and to its inputs is gone afterwards, and other threads may call it at the same time.

    Raises:
        FphiError: a derivative is wanted, and would be wrong; the output is no tensor.
    """
    known = _FACTS.setdefault(original(network), {})
    own = own_parameters(network)
    leaves = [x for x in tree_leaves(inputs) if isinstance(x, Tensor)]
    with placed(network, _tensors(network, own, parameters, leaves)) as (at_hand, attributes):
        exchanged = any(parameters.get(name, p) is not p for name, p in own.items())
        path = hash((attributes, exchanged, is_mapped(leaves[0]), *[(x.shape, x.dtype) for x in leaves]))
        _LAST.set(path)
        facts = known.get(path)
        if facts is not None and not facts.parameters:
            return _answer(network, at_hand, inputs, leaves, facts)
    if facts is None:
        with EXCHANGE:
            facts = known.get(path) or _found_out(network, own, parameters, inputs, known, path)
    if facts.parameters:
        parameters = {name: p.clone() for name, p in {**own, **parameters}.items()}
    with placed(network, _tensors(network, own, parameters, leaves)) as (at_hand, _):
        return _answer(network, at_hand, inputs, leaves, facts)


def last_path() -> int:
    """A number for what the network that was last called in this thread does, as far as that can be told.

    Its attributes and the shapes of its inputs decide it.
    """
    return _LAST.get()


def _tensors(
    network: nn.Module, own: Mapping[str, Tensor], parameters: Mapping[str, Tensor], leaves: list[Tensor]
) -> dict[int, Tensor]:
    """By ``id`` of a parameter or buffer, what the call has in its place."""
    with EXCHANGE:
        tensors = {id(b): _scratch(b, leaves[0]) for b in network.buffers()}
    return tensors | {id(p): parameters[name] for name, p in own.items() if name in parameters}


def _found_out(
    network: nn.Module,
    own: Mapping[str, Tensor],
    parameters: Mapping[str, Tensor],
    inputs: tuple[Any, ...],
    known: dict[int, Facts],
    path: int,
) -> Facts:
    def answer(given: Mapping[str, Tensor], x: tuple[Any, ...]) -> Any:
        leaves = [leaf for leaf in tree_leaves(x) if isinstance(leaf, Tensor)]
        with (
            trial_pass(),
            placed(network, _tensors(network, own, given, leaves)) as (at_hand, _),
            own_cache(),
        ):
            return at_hand(*x)

    if len(known) >= _PATHS:
        return Facts(any(f.parameters for f in known.values()), any(f.inputs for f in known.values()))
    facts = tried(network, parameters, inputs, answer)
    if facts is None:
        return Facts()
    known[path] = facts
    return facts


def _answer(
    network: nn.Module, at_hand: nn.Module, inputs: tuple[Any, ...], leaves: list[Tensor], facts: Facts
) -> Tensor:
    if facts.refusal and torch.is_grad_enabled():
        raise FphiError(f"{type(network).__name__} {facts.refusal}")
    with own_cache(), by_hand(facts.replaces):
        output = _untouched(at_hand, inputs, leaves, facts.inputs, type(network).__name__)
    if not isinstance(output, Tensor):
        raise FphiError(
            f"{type(network).__name__} answers with a {type(output).__name__}; it must be one tensor "
            "[examples, …]: wrap it in a module that returns the one of its outputs that counts"
        )
    return output


def call_loss(loss: Callable[..., Tensor], *given: Tensor) -> Tensor:
    """The loss of answers and targets, which stay as they are."""
    if loss is cross_entropy and is_mapped(given[0]) and of_classes(*given):
        return mapped_cross_entropy(*given)
    kind = getattr(loss, "__func__", loss)
    name = getattr(loss, "__name__", type(loss).__name__)
    changes = _LOSSES.get(kind)
    if changes is not None:
        value: Tensor = _untouched(loss, given, given, changes, name)
        return value
    copies = [x.clone() for x in given]
    with Writes(copies) as writes:
        value = loss(*copies)
    _LOSSES[kind] = bool(writes.met)
    return value


def _untouched(
    function: Callable[..., Any], given: Any, leaves: Sequence[Tensor], changes: bool, name: str
) -> Any:
    """``function(*given)``, which gets copies if it ``changes`` what it is given."""
    if changes:
        return function(*tree_map(lambda x: x.clone() if isinstance(x, Tensor) else x, given))
    before = _versions(leaves)
    output = function(*given)
    if _versions(leaves) != before:
        raise FphiError(
            f"{name} changed what it was given in place, and did not do so in its first call: let it change "
            "a copy, as x.clone() makes it"
        )
    return output


def _versions(tensors: Sequence[Tensor]) -> list[int]:
    """How often each was written to in place; inference mode does not count that of its own."""
    return [x._version for x in map(beneath, tensors) if not x.is_inference()]


def _scratch(buffer: Tensor, x: Tensor) -> Tensor:
    """A copy for the network to update and throw away, batched where ``x`` is."""
    return x.new_zeros(buffer.shape, dtype=buffer.dtype) + buffer
