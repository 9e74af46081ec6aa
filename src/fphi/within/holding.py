"""What Python objects hold, and by what they refer to each other."""

import copyreg
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from types import (
    BuiltinFunctionType,
    FunctionType,
    MemberDescriptorType,
    ModuleType,
    NoneType,
    SimpleNamespace,
)
from typing import Any
from weakref import CallableProxyType, ProxyType, WeakMethod, proxy, ref

import torch
from torch import Tensor, nn

__all__ = [
    "ATOMS",
    "WEAK",
    "filled",
    "held_by",
    "named_globals",
    "reaches",
    "referred",
    "slots_of",
    "taken_apart",
]

ATOMS = frozenset(
    {int, float, complex, bool, str, bytes, NoneType, type, torch.dtype, torch.device, torch.Size, range}
    | {BuiltinFunctionType, torch.Generator}
)

# Weak references, and how one is made to something else.
WEAK: dict[type, Callable[[Any], Any]] = {
    ref: ref,
    WeakMethod: WeakMethod,
    ProxyType: proxy,
    CallableProxyType: proxy,
}
_MADE_BY_CLASS_STATEMENT = 1 << 9  # Py_TPFLAGS_HEAPTYPE


@lru_cache(1024)
def slots_of(kind: type) -> list[MemberDescriptorType]:
    """Where a class's objects hold something beside their ``__dict__``."""
    written = [c for c in kind.__mro__ if c.__flags__ & _MADE_BY_CLASS_STATEMENT]
    return [m for c in written for m in vars(c).values() if isinstance(m, MemberDescriptorType)]


def taken_apart(value: Any) -> tuple[tuple[Any, ...], Iterable[Any], Iterable[Any]] | None:
    """What Python itself would copy an object by: its class with arguments, and its entries if it is a list
    or a dict too. None for what says itself how it is copied, and for a mark: it holds nothing, and is known
    by its identity.
    """
    kind: type = type(value)
    if not _is_plain(kind):
        return None
    try:
        if type(value) is SimpleNamespace:
            return (SimpleNamespace,), (), ()
        maker, given, state, items, pairs = (*value.__reduce_ex__(4), None, None, None)[:5]
    except TypeError:  # a lock, a file
        return None
    if maker is not copyreg.__newobj__ or not (given[1:] or state or items or pairs):  # type: ignore[attr-defined]
        return None
    return given, items or (), pairs or ()


@lru_cache(1024)
def _is_plain(kind: type) -> bool:
    """Whether a class is written in Python, and its objects are what they hold."""
    own = ("__reduce__", "__reduce_ex__", "__getstate__")
    if kind is SimpleNamespace:
        return True
    special = ("__deepcopy__", "__copy__", "__del__", "__setstate__")
    written = bool(kind.__flags__ & _MADE_BY_CLASS_STATEMENT)
    usual = all(getattr(kind, name) is getattr(object, name) for name in own)
    return written and usual and not any(hasattr(kind, name) for name in special)


def referred(value: Any) -> Any:
    """What a weak reference refers to; None: it is gone."""
    return value.__repr__.__self__ if type(value) in (ProxyType, CallableProxyType) else value()


def held_by(value: Any) -> Iterable[Any]:
    """What a value refers to, as far as Python's ordinary means of holding something go."""
    if isinstance(value, FunctionType):
        cells = [c.cell_contents for c in value.__closure__ or () if filled(c)]
        defaults = [*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
        return [*cells, *defaults, *vars(value).values()]
    if isinstance(value, Mapping):
        return [*value.values()]
    if isinstance(value, list | tuple | set | frozenset | deque):
        return value
    if isinstance(value, partial):
        return [value.func, *value.args, *value.keywords.values()]
    if isinstance(value, Tensor):
        return []
    own = [getattr(value, "__self__", None)] if isinstance(value, Callable) else []  # type: ignore[arg-type]
    weakly = [referred(value)] if type(value) in WEAK else []
    return [*own, *weakly, *getattr(value, "__dict__", {}).values()]


def named_globals(function: FunctionType) -> list[Any]:
    """Modules and tensors that a function of the user's finds by name in its file."""
    named = (function.__globals__.get(name) for name in function.__code__.co_names)
    return [v for v in named if isinstance(v, (nn.Module, Tensor))]


def filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def reaches(value: Any, goals: set[int], seen: set[int] | None = None) -> bool:
    """Whether something of which the ``id`` is among the goals can be reached from ``value``."""
    seen = set() if seen is None else seen
    if type(value) in ATOMS or isinstance(value, type | ModuleType) or id(value) in seen:
        return False
    seen.add(id(value))
    if id(value) in goals:
        return True
    return any(reaches(held, goals, seen) for held in held_by(value))
