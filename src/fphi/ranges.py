"""Ranges of options, declared where the options are: a number outside of its own is refused by name."""

import math
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from functools import cache, wraps
from inspect import signature
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, ParamSpec, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from fphi.errors import FphiError

__all__ = [
    "SEED",
    "Range",
    "checked",
    "count",
    "number",
    "range_of",
    "rate",
    "require_number",
    "require_ranges",
    "share",
    "weight",
]

P = ParamSpec("P")
T = TypeVar("T")
_KEY = "range"


@dataclass(frozen=True)
class Range:
    """From ``least`` to ``most``; the bounds belong to it, unless ``open`` and ``below`` say otherwise.

    Args:
        least: the lower bound.
        most: the upper bound.
        open: whether a number must be above ``least``.
        below: whether it must be below ``most``.
    """

    least: float = -1e9
    most: float = 1e9
    open: bool = False
    below: bool = False

    def refusal(self, value: float) -> str:
        """What a number outside must be; "" for one within."""
        if isinstance(value, float) and not math.isfinite(value):
            return "a finite number"
        if value < self.least or (self.open and value == self.least):
            return f"{'above' if self.open else 'at least'} {_text(self.least)}"
        if value > self.most or (self.below and value == self.most):
            return f"{'below' if self.below else 'at most'} {_text(self.most)}"
        return ""


SEED = Range(-(2**63), 2**64 - 1)
_ANY = Range()
_KINDS = {NoneType: "None", str: "a text", bool: "True or False", Path: "a path"}
_UNBOUNDED = Range(-math.inf, math.inf)
# Of arguments that declare none: a size, and how much of something there is.
_USUAL: dict[type, Range] = {int: Range(1), float: Range(0)}


def number(default: T, least: float, most: float, *, open: bool = False, below: bool = False) -> T:
    """A field of a dataclass with its range."""
    made: Any = field(default=default, metadata={_KEY: Range(least, most, open, below)})
    return cast(T, made)


def count(default: T, most: int = 1_000_000, *, least: int = 1) -> T:
    """A field for a number of things."""
    return number(default, least, most)


def rate(default: T) -> T:
    """A field for a learning rate."""
    return number(default, 0, 1000, open=True)


def share(default: T) -> T:
    """A field for a part of a whole that is less than all of it: dropout, momentum, decay."""
    return number(default, 0, 1, below=True)


def weight(default: T, most: float = 1e6) -> T:
    """A field for how much something counts, from not at all."""
    return number(default, 0, most)


def require_ranges(cls: type, values: Mapping[str, Any], named: Callable[[str], str] = str) -> None:
    """Raise an `FphiError` for the first value of a dataclass's field of a wrong type or out of range.

    A field that declares none has its class's ``usual_range``, or at most a billion in size; an empty text is
    refused.

    Args:
        cls: the dataclass.
        values: by the fields' names.
        named: how a message calls a field.
    """
    for own in fields(cls):
        value = values.get(own.name)
        if isinstance(value, str) and not value.strip():
            raise FphiError(f"{named(own.name)} is empty; give it a value, or leave it out")
        for one in value if isinstance(value, tuple | list) else (value,):
            if isinstance(one, int | float) and not isinstance(one, bool):
                require_number(named(own.name), one, range_of(cls, own.name))
    for name, hint in _hints(cls).items():
        wrong = _wrong(values[name], hint, _UNBOUNDED) if name in values else ""
        if wrong:
            raise FphiError(f"{named(name)} is {_shown(values[name])}; it must be {wrong}")


@cache
def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    return get_type_hints(function)


def require_number(name: str, value: float, within: Range) -> None:
    """Raise an `FphiError` if a number is out of a range."""
    wrong = within.refusal(value)
    if wrong:
        raise FphiError(f"{name} is {_text(value)}; it must be {wrong}")


def checked(**ranges: Range) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorates what is called with arguments that are to be what their annotations say.

    Whole numbers are from 1 and others from 0 up, unless a range is given.

    Args:
        ranges: by the name of an argument.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        asked = signature(function)
        many = {name for name, p in asked.parameters.items() if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}

        @wraps(function)
        def call(*args: P.args, **named: P.kwargs) -> T:
            for name, value in asked.bind(*args, **named).arguments.items():
                if name in many:
                    continue
                wrong = _wrong(value, _hints(function).get(name, Any), ranges.get(name))
                if wrong:
                    raise FphiError(f"{name} is {_shown(value)}; it must be {wrong}")
            return function(*args, **named)

        return call

    return decorate


def _wrong(value: object, kind: Any, within: Range | None) -> str:
    """What a value must be to be of a kind of types; "" if it is."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        found = [_wrong(value, part, within) for part in parts]
        return "" if "" in found else " or ".join(dict.fromkeys(found))
    if origin is Literal:
        known = any(type(value) is type(part) and value == part for part in parts)
        return "" if known else f"one of {', '.join(map(str, parts))}"
    if kind in _USUAL:
        return _wrong_number(value, kind, within or _USUAL[kind])
    if origin is Callable or kind is Callable:
        return "" if callable(value) else "something to call"
    if isinstance(origin, type) and issubclass(origin, Collection) and not issubclass(origin, Mapping):
        return _wrong_sequence(value, parts, within)
    return _wrong_object(value, kind)


def _wrong_object(value: object, kind: Any) -> str:
    if get_origin(kind) is type:
        (of,) = get_args(kind)
        return "" if isinstance(value, type) and issubclass(value, of) else f"a class of {of.__name__}"
    if kind is Any or not isinstance(kind, type):
        return ""
    if getattr(kind, "_is_protocol", False):
        methods = [name for name, member in vars(kind).items() if callable(member) and name[0] != "_"]
        known = all(callable(getattr(value, name, None)) for name in methods)
        return "" if known else f"an object that has {' and '.join(methods)}"
    if isinstance(value, kind) or (kind is str and isinstance(value, os.PathLike)):
        return ""
    return _KINDS.get(kind, f"of type {kind.__name__}")


def _wrong_number(value: object, kind: type, within: Range) -> str:
    if isinstance(value, bool) or not isinstance(value, Integral if kind is int else Real):
        return "a whole number" if kind is int else "a number"
    return within.refusal(cast(float, value))


def _wrong_sequence(value: object, parts: tuple[Any, ...], within: Range | None) -> str:
    if isinstance(value, str | bytes) or not isinstance(value, list | tuple):
        return "a tuple or a list"
    fixed = Ellipsis not in parts and len(parts) > 1
    if fixed and len(parts) != len(value):
        return f"{len(parts)} of them"
    found = [_wrong(each, parts[i if fixed else 0], within) for i, each in enumerate(value) if parts]
    return next((f"of entries that are each {wrong}" for wrong in found if wrong), "")


def _shown(value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _text(value)
    plain = isinstance(value, tuple | list) and all(isinstance(v, int | float | str) for v in value)
    if value is None or plain or isinstance(value, str | bool):
        written = repr(value)
        return written if len(written) <= 60 else f"{written[:59]}…"
    return f"of type {type(value).__name__}"


def range_of(cls: type, name: str) -> Range:
    """That of a dataclass's field, as the first class declares it that gives the field a range."""
    for ancestor in cls.__mro__:
        own = vars(ancestor).get("__dataclass_fields__", {}).get(name)
        if own is not None and _KEY in own.metadata:
            return cast(Range, own.metadata[_KEY])
    return cast(Range, getattr(cls, "usual_range", _ANY))


def _text(value: float) -> str:
    """Short, whatever it is: no thousand digits."""
    if isinstance(value, int):
        return str(value) if abs(value) < 10**21 else f"a whole number of {value.bit_length()} bits"
    return f"{value:g}"
