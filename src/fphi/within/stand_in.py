"""A module that is called in another's place: what it changes of itself is gone with it."""

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from threading import RLock
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType, NoneType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

__all__ = ["EXCHANGE", "original", "own_parameters", "placed", "stand_in"]

M = TypeVar("M", bound=nn.Module)

_ATOMS = frozenset(
    {int, float, complex, bool, str, bytes, NoneType, type, torch.dtype, torch.device, torch.Size, range}
    | {BuiltinFunctionType, torch.Generator}
)
_CONTAINERS = frozenset({list, tuple, set, frozenset, deque, dict, OrderedDict, defaultdict})
_ORIGINAL = "_stands_in_for"

# Held while a module that cannot be copied has its tensors exchanged: only one thread may see that.
EXCHANGE = RLock()


class _CannotFollowError(Exception):
    """Something refers to the module in a way that a copy would not: it would reach the original."""


def stand_in(module: M, tensors: Mapping[int, Tensor]) -> M | None:
    """A copy of the module, down to its lists and dicts; None where a copy would not do.

    It does not where something in the module reaches it by itself: a lambda that mentions it, an object
    that holds it.

    Args:
        module: stays as it is.
        tensors: by ``id`` of a tensor of the module, what the copy has in its place; all others are shared.
    """
    copier = _Copier(module, tensors)
    try:
        copied: M = copier.module(module)
    except _CannotFollowError:
        return None
    return copied


@contextmanager
def placed(module: M, tensors: Mapping[int, Tensor]) -> Iterator[M]:
    """The module with other tensors, to be called; afterwards it is as it was, whatever the call did.

    Args:
        module: the copy that `stand_in` makes of it is given, or else itself, to one thread at a time.
        tensors: see `stand_in`.
    """
    copied = stand_in(module, tensors)
    if copied is not None:
        yield copied
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
            yield module
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
    """

    def __init__(self, module: nn.Module, tensors: Mapping[int, Tensor]) -> None:
        self.known: dict[int, Any] = dict(tensors)
        self.guarded = {*map(id, module.modules()), *tensors}

    def module(self, module: nn.Module) -> Any:
        if any(vars(kind).get("__slots__") for kind in type(module).__mro__):
            raise _CannotFollowError
        if id(module) not in self.guarded:  # held in a list, say: nobody gave other buffers for its own
            self.known |= {id(b): b.clone() for b in module.buffers(recurse=False)}
        made = object.__new__(type(module))
        self.known[id(module)] = made
        attributes = self.attributes(vars(module))
        attributes[_ORIGINAL] = original(module)
        object.__setattr__(made, "__dict__", attributes)
        return made

    def attributes(self, attributes: dict[str, Any]) -> dict[str, Any]:
        return {k: v if k == _ORIGINAL else self.copy(v) for k, v in attributes.items()}

    def copy(self, value: Any) -> Any:
        kind = type(value)
        if kind in _ATOMS:
            return value
        known = self.known.get(id(value))
        if known is not None:
            return known
        if isinstance(value, nn.Module | Tensor):
            return value if isinstance(value, Tensor) else self.module(value)
        return self.container(value) if kind in _CONTAINERS else self.callable(value)

    def container(self, value: Any) -> Any:
        kind = type(value)
        if kind is defaultdict:
            return defaultdict(value.default_factory, {k: self.copy(v) for k, v in value.items()})
        if kind in (dict, OrderedDict):
            return kind((k, self.copy(v)) for k, v in value.items()) if value else kind()
        return kind(self.copy(v) for v in value)

    def callable(self, value: Any) -> Any:
        """A method or a partial function is bound to the copies; anything else must not know the module."""
        if type(value) is MethodType:
            return MethodType(value.__func__, self.copy(value.__self__))
        if type(value) is partial:
            keywords = {k: self.copy(v) for k, v in value.keywords.items()}
            return partial(self.copy(value.func), *map(self.copy, value.args), **keywords)
        if self.guarded and self.reaches(value, set()):
            raise _CannotFollowError
        return value

    def reaches(self, value: Any, seen: set[int]) -> bool:
        """Whether what is guarded can be reached from ``value``."""
        if type(value) in _ATOMS or isinstance(value, type | ModuleType) or id(value) in seen:
            return False
        seen.add(id(value))
        if id(value) in self.guarded:
            return True
        return any(self.reaches(held, seen) for held in _held(value))


def _held(value: Any) -> Iterable[Any]:
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
