"""A module that is called in another's place: what it changes of itself is gone with it."""

import copyreg
import os
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from functools import partial
from itertools import count, cycle
from threading import RLock
from types import BuiltinFunctionType, CellType, FunctionType, MappingProxyType, MethodType
from typing import Any, TypeVar
from weakref import WeakMethod

import numpy as np
from torch import Tensor, nn

from fphi.within.holding import (
    ATOMS,
    WEAK,
    filled,
    named_globals,
    reaches,
    referred,
    slots_of,
    taken_apart,
)

__all__ = ["EXCHANGE", "original", "own_parameters", "placed", "stand_in"]

M = TypeVar("M", bound=nn.Module)
T = TypeVar("T")

_CONTAINERS = frozenset({list, tuple, set, frozenset, deque, dict, OrderedDict, defaultdict, Counter})
_DICTS = frozenset({dict, OrderedDict})
_PLAIN = ATOMS - {BuiltinFunctionType}
_COPIED = (np.ndarray, bytearray, array, count, cycle)
_ORIGINAL = "_stands_in_for"

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
        copies = copier.until_followed(lambda: [copier.attributes(attributes) for attributes in before])
        for m, attributes in zip(modules, copies, strict=True):
            object.__setattr__(m, "__dict__", attributes)
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
        given: the ``id`` of the tensors that others take the place of.
        atoms: what decides what a call does, apart from tensors, in the order of a walk.
        copied: the ``id`` of what was copied, and can be changed.
        kept: functions that stay as they are.
        remade: the ``id`` of functions that get other variables of their surroundings.
    """

    def __init__(self, module: nn.Module, tensors: Mapping[int, Tensor]) -> None:
        self.known: dict[int, Any] = dict(tensors)
        self.given = set(tensors)
        self.guarded = {*map(id, module.modules()), *tensors}
        self.atoms: list[Any] = []
        self.copied: set[int] = set()
        self.kept: list[FunctionType] = []
        self.remade: set[int] = set()

    def whole(self, module: M) -> M | None:
        """A copy of the module; None where a copy would not do."""
        try:
            copied: M = self.until_followed(lambda: self.module(module))
        except _CannotFollowError:
            return None
        return copied

    def until_followed(self, copy: Callable[[], T]) -> T:
        """``copy()``, again where a function was kept that reaches what was copied: it is made anew then."""
        before = dict(self.known)
        while True:
            made = copy()
            goals = self.copied | self.guarded | self.given
            reaching = {id(f) for f in self.kept if reaches(f, goals)}
            if not reaching:
                return made
            self.remade |= reaching
            self.known, self.copied, self.kept, self.atoms = dict(before), set(), [], []

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
        self.copied.add(id(module))
        made = object.__new__(type(module))
        self.known[id(module)] = made
        attributes = self.attributes(attributes)
        attributes[_ORIGINAL] = original(module)
        object.__setattr__(made, "__dict__", attributes)
        self.slots(module, made)
        return made

    def attributes(self, attributes: dict[str, Any]) -> dict[str, Any]:
        copied = {}
        for name, value in attributes.items():
            if (kind := type(value)) in _PLAIN:  # nine in ten are this or the next
                self.atoms.append(value)
                copied[name] = value
            elif kind in _DICTS and not value and id(value) not in self.known:
                copied[name] = self.known[id(value)] = kind()
                self.copied.add(id(value))
            else:
                copied[name] = value if name == _ORIGINAL else self.copy(value)
        return copied

    def slots(self, value: Any, made: Any) -> None:
        kind: type = type(value)
        for slot in slots_of(kind):
            try:
                held = slot.__get__(value)
            except AttributeError:
                continue
            slot.__set__(made, self.copy(held))

    def copy(self, value: Any) -> Any:
        kind = type(value)
        if kind in ATOMS or isinstance(value, type):
            return self.atom(value)
        known = self.known.get(id(value))
        if known is not None:
            return known
        if kind in _CONTAINERS:
            return self.container(value)
        if isinstance(value, nn.Module) and kind not in WEAK:
            return self.module(value)
        if isinstance(value, (Tensor, *_COPIED)):
            self.known[id(value)] = value.clone() if isinstance(value, Tensor) else copy(value)
            self.copied.add(id(value))
            return self.known[id(value)]
        return self.callable(value)

    def atom(self, value: Any) -> Any:
        self.atoms.append(value)
        if type(value) is BuiltinFunctionType and type(value.__self__) in _CONTAINERS:  # a list's append
            return getattr(self.copy(value.__self__), value.__name__)
        return value

    def container(self, value: Any) -> Any:
        kind = type(value)
        if kind in (tuple, frozenset):
            return kind(map(self.copy, value))
        made: Any = defaultdict(value.default_factory) if kind is defaultdict else kind()
        if kind is deque:
            made = deque(maxlen=value.maxlen)
        self.known[id(value)] = made
        self.copied.add(id(value))
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
        """Of a known kind, or an object; what has no copy must not know the module."""
        known = _OF_KIND.get(type(value))
        if known is not None:
            return known(self, value)
        parts = taken_apart(value)
        if parts is not None:
            return self.plain(value, *parts)
        if self.guarded and reaches(value, self.guarded):
            raise _CannotFollowError
        self.atoms.append(id(value))
        return value

    def partial(self, value: "partial[Any]") -> "partial[Any]":
        keywords = {k: self.copy(v) for k, v in value.keywords.items()}
        return partial(self.copy(value.func), *map(self.copy, value.args), **keywords)

    def function(self, value: FunctionType) -> FunctionType:
        """The function, or one of the same code whose variables and defaults are copies."""
        self.atoms.append(id(value.__code__))
        if self.guarded and any(reaches(v, self.guarded) for v in named_globals(value)):
            raise _CannotFollowError
        if id(value) not in self.remade:
            self.kept.append(value)
            return value
        cells = tuple(self.known.setdefault(id(c), CellType()) for c in value.__closure__ or ())
        made = FunctionType(value.__code__, value.__globals__, value.__name__, closure=cells)
        self.known[id(value)] = made
        for old, new in zip(value.__closure__ or (), cells, strict=True):
            if filled(old) and not filled(new):
                new.cell_contents = self.copy(old.cell_contents)
        made.__defaults__ = self.copy(value.__defaults__)
        made.__kwdefaults__ = self.copy(value.__kwdefaults__)
        made.__dict__.update(self.attributes(vars(value)))
        return made

    def weak(self, value: Any) -> Any:
        """A weak reference to what is copied as well; any other is as good as it is."""
        target = referred(value)
        held = target.__self__ if type(value) is WeakMethod and target is not None else target
        if id(held) not in self.guarded and id(held) not in self.known:
            return value
        return WEAK[type(value)](self.copy(target))

    def plain(self, value: Any, given: tuple[Any, ...], items: Iterable[Any], pairs: Iterable[Any]) -> Any:
        """An object of a class that is written in Python."""
        made = copyreg.__newobj__(given[0], *map(self.copy, given[1:]))  # type: ignore[attr-defined]
        self.known[id(value)] = made
        self.copied.add(id(value))
        for held in items:
            made.append(self.copy(held))
        for key, held in pairs:
            made[key] = self.copy(held)
        for name, held in getattr(value, "__dict__", {}).items():
            made.__dict__[name] = self.copy(held)
        self.slots(value, made)
        return made


_OF_KIND: dict[type, Callable[[_Copier, Any], Any]] = {
    MethodType: lambda copier, value: MethodType(value.__func__, copier.copy(value.__self__)),
    partial: _Copier.partial,
    MappingProxyType: lambda copier, value: MappingProxyType({k: copier.copy(v) for k, v in value.items()}),
    FunctionType: _Copier.function,
    **dict.fromkeys(WEAK, _Copier.weak),
}
