"""A module that is called in another's place: what it changes of itself is gone with it."""

import copyreg
import os
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from functools import lru_cache, partial
from itertools import count, cycle
from threading import RLock
from types import (
    BuiltinFunctionType,
    FunctionType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
    NoneType,
    SimpleNamespace,
)
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["EXCHANGE", "held_by", "original", "own_parameters", "placed", "stand_in"]

M = TypeVar("M", bound=nn.Module)

_ATOMS = frozenset(
    {int, float, complex, bool, str, bytes, NoneType, type, torch.dtype, torch.device, torch.Size, range}
    | {BuiltinFunctionType, torch.Generator}
)
_CONTAINERS = frozenset({list, tuple, set, frozenset, deque, dict, OrderedDict, defaultdict, Counter})
_COPIED = (np.ndarray, bytearray, array, count, cycle)
_ORIGINAL = "_stands_in_for"
_MADE_BY_CLASS_STATEMENT = 1 << 9  # Py_TPFLAGS_HEAPTYPE

# Held while a module that cannot be copied has its tensors exchanged: only one thread may see that.
EXCHANGE = RLock()
if hasattr(os, "register_at_fork"):  # a process that is forked meanwhile would wait for it without an end
    os.register_at_fork(
        before=EXCHANGE.acquire, after_in_parent=EXCHANGE.release, after_in_child=EXCHANGE.release
    )


class _CannotFollowError(Exception):
    """Something refers to the module in a way that a copy would not: it would reach the original."""


def stand_in(module: M, tensors: Mapping[int, Tensor]) -> M | None:
    """A copy of the module and of all that it holds; None where a copy would not do.

    It does not where something that cannot be copied reaches the module by itself: a lambda that mentions it.

    Args:
        module: stays as it is.
        tensors: by ``id`` of a tensor of the module, what the copy has in its place; the other parameters
            and buffers are shared, and other tensors are copied.
    """
    return _Copier(module, tensors).whole(module)


@contextmanager
def placed(module: M, tensors: Mapping[int, Tensor]) -> Iterator[tuple[M, int]]:
    """The module with other tensors, to be called; afterwards it is as it was, whatever the call did.

    With it goes a number that tells its structure and its attributes' values from others.

    Args:
        module: the copy that `stand_in` makes of it is given, or else itself, to one thread at a time.
        tensors: see `stand_in`.
    """
    copier = _Copier(module, tensors)
    copied = copier.whole(module)
    if copied is not None:
        yield copied, hash(tuple(copier.atoms))
        return
    with EXCHANGE:
        modules = list(module.modules())
        before = [vars(m) for m in modules]
        copier = _Copier(module, tensors)
        copier.known |= {id(m): m for m in modules}
        copier.guarded = set()
        for m, attributes in zip(modules, before, strict=True):
            object.__setattr__(m, "__dict__", copier.attributes(attributes))
        try:
            yield module, hash(tuple(copier.atoms))
        finally:
            for m, attributes in zip(modules, before, strict=True):
                object.__setattr__(m, "__dict__", attributes)


def own_parameters(module: nn.Module) -> dict[str, Tensor]:
    """The parameters by name, as no other thread has exchanged them."""
    with EXCHANGE:
        return dict(module.named_parameters())


def original(module: nn.Module) -> nn.Module:
    """The module that this one stands in for, or itself."""
    found: nn.Module = vars(module).get(_ORIGINAL, module)
    return found


class _Copier:
    """Copies modules and what they hold; each thing once, however often it is met.

    Attributes:
        known: by ``id`` of what is met, what is put in its place.
        guarded: the ``id`` of all that nothing but a module, a list, a dict or the like may refer to.
        atoms: what decides what a call does, apart from tensors, in the order of a walk.
    """

    def __init__(self, module: nn.Module, tensors: Mapping[int, Tensor]) -> None:
        self.known: dict[int, Any] = dict(tensors)
        self.guarded = {*map(id, module.modules()), *tensors}
        self.atoms: list[Any] = []

    def whole(self, module: M) -> M | None:
        """A copy of the module; None where a copy would not do."""
        try:
            copied: M = self.module(module)
        except _CannotFollowError:
            return None
        return copied

    def module(self, module: nn.Module) -> Any:
        guarded, attributes = id(module) in self.guarded, vars(module)
        for tensor in attributes.get("_parameters", {}).values():
            self.known.setdefault(id(tensor), tensor)
        for tensor in attributes.get("_buffers", {}).values():
            if guarded or tensor is None:
                self.known.setdefault(id(tensor), tensor)
            else:  # the module is held in a list, say: nobody gave other buffers for its own
                self.known[id(tensor)] = tensor.clone()
        self.atoms.append(type(module))
        made = object.__new__(type(module))
        self.known[id(module)] = made
        attributes = self.attributes(attributes)
        attributes[_ORIGINAL] = original(module)
        object.__setattr__(made, "__dict__", attributes)
        self.slots(module, made)
        return made

    def attributes(self, attributes: dict[str, Any]) -> dict[str, Any]:
        return {k: v if k == _ORIGINAL else self.copy(v) for k, v in attributes.items()}

    def slots(self, value: Any, made: Any) -> None:
        kind: type = type(value)
        for slot in _slots(kind):
            try:
                held = slot.__get__(value)
            except AttributeError:
                continue
            slot.__set__(made, self.copy(held))

    def copy(self, value: Any) -> Any:
        kind = type(value)
        if kind in _ATOMS or isinstance(value, type):
            self.atoms.append(value)
            return value
        known = self.known.get(id(value))
        if known is not None:
            return known
        if kind in _CONTAINERS:
            return self.container(value)
        if isinstance(value, nn.Module):
            return self.module(value)
        if isinstance(value, (Tensor, *_COPIED)):
            self.known[id(value)] = value.clone() if isinstance(value, Tensor) else copy(value)
            return self.known[id(value)]
        return self.callable(value)

    def container(self, value: Any) -> Any:
        kind = type(value)
        if kind in (tuple, frozenset):
            return kind(map(self.copy, value))
        made: Any = defaultdict(value.default_factory) if kind is defaultdict else kind()
        if kind is deque:
            made = deque(maxlen=value.maxlen)
        self.known[id(value)] = made
        if isinstance(value, dict):
            for key, held in value.items():
                made[key] = self.copy(held)
        elif value:
            begun = len(self.atoms)
            (made.update if kind is set else made.extend)(map(self.copy, value))
            if kind is set:  # equal ones need not have the same order
                self.atoms[begun:] = [frozenset(self.atoms[begun:])]
        return made

    def callable(self, value: Any) -> Any:
        """A method or a partial function is bound to copies; what has no copy must not know the module."""
        if type(value) is MethodType:
            return MethodType(value.__func__, self.copy(value.__self__))
        if type(value) is partial:
            keywords = {k: self.copy(v) for k, v in value.keywords.items()}
            return partial(self.copy(value.func), *map(self.copy, value.args), **keywords)
        parts = _taken_apart(value)
        if parts is not None:
            return self.plain(value, *parts)
        if self.guarded and self.reaches(value, set()):
            raise _CannotFollowError
        self.atoms.append(id(getattr(value, "__code__", value)))
        return value

    def plain(self, value: Any, given: tuple[Any, ...], items: Iterable[Any], pairs: Iterable[Any]) -> Any:
        """An object of a class that is written in Python."""
        made = copyreg.__newobj__(given[0], *map(self.copy, given[1:]))  # type: ignore[attr-defined]
        self.known[id(value)] = made
        for held in items:
            made.append(self.copy(held))
        for key, held in pairs:
            made[key] = self.copy(held)
        for name, held in getattr(value, "__dict__", {}).items():
            made.__dict__[name] = self.copy(held)
        self.slots(value, made)
        return made

    def reaches(self, value: Any, seen: set[int]) -> bool:
        """Whether what is guarded can be reached from ``value``."""
        if type(value) in _ATOMS or isinstance(value, type | ModuleType) or id(value) in seen:
            return False
        seen.add(id(value))
        if id(value) in self.guarded:
            return True
        return any(self.reaches(held, seen) for held in held_by(value))


@lru_cache(1024)
def _slots(kind: type) -> list[MemberDescriptorType]:
    """Where a class's objects hold something beside their ``__dict__``."""
    written = [c for c in kind.__mro__ if c.__flags__ & _MADE_BY_CLASS_STATEMENT]
    return [m for c in written for m in vars(c).values() if isinstance(m, MemberDescriptorType)]


def _taken_apart(value: Any) -> tuple[tuple[Any, ...], Iterable[Any], Iterable[Any]] | None:
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


def held_by(value: Any) -> Iterable[Any]:
    """What a value refers to, as far as Python's ordinary means of holding something go."""
    if isinstance(value, FunctionType):
        cells = [c.cell_contents for c in value.__closure__ or () if _filled(c)]
        return [*cells, *(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
    if isinstance(value, Mapping):
        return [*value.values()]
    if isinstance(value, list | tuple | set | frozenset | deque):
        return value
    if isinstance(value, partial):
        return [value.func, *value.args, *value.keywords.values()]
    if isinstance(value, Tensor):
        return []
    own = [getattr(value, "__self__", None)] if isinstance(value, Callable) else []  # type: ignore[arg-type]
    return [*own, *getattr(value, "__dict__", {}).values()]


def _filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True
