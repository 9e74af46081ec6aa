"""Ranges of options, declared where the options are: a number outside of its own is refused by name."""

import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from numbers import Integral, Real
from types import UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from fphi.errors import FphiError

__all__ = [
    "Range",
    "count",
    "number",
    "rate",
    "require_number",
    "require_path",
    "require_ranges",
    "require_sizes",
    "share",
    "weight",
]

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
        if not _is_of(value, int) and not math.isfinite(value):
            return "a finite number"
        if value < self.least or (self.open and value == self.least):
            return f"{'above' if self.open else 'at least'} {_text(self.least)}"
        if value > self.most or (self.below and value == self.most):
            return f"{'below' if self.below else 'at most'} {_text(self.most)}"
        return ""


_ANY = Range()


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
    """Raise an `FphiError` for the first field of a dataclass whose value is of another type or range.

    A field that declares no range has its class's ``usual_range``, or at most a billion in size; an empty
    text is refused.

    Args:
        cls: the dataclass.
        values: by the fields' names.
        named: how a message calls a field.
    """
    for own in fields(cls):
        if own.name not in values:
            continue
        value = values[own.name]
        kinds = _kinds(cls)[own.name]
        if kinds and not any(_is_of(value, kind) for kind in kinds):
            expected = " or ".join(dict.fromkeys(map(_in_words, kinds)))
            raise FphiError(f"{named(own.name)} is {_text(value)}; it must be {expected}")
        if isinstance(value, str) and not value.strip():
            raise FphiError(f"{named(own.name)} is empty; give it a value, or leave it out")
        for one in value if isinstance(value, tuple | list) else (value,):
            if isinstance(one, int | float) and not isinstance(one, bool):
                require_number(named(own.name), one, _range_of(cls, own.name))


def require_number(name: str, value: float, within: Range) -> None:
    """Raise an `FphiError` if a value is no number, or one out of a range."""
    wrong = within.refusal(value) if _is_of(value, float) else "a number"
    if wrong:
        raise FphiError(f"{name} is {_text(value)}; it must be {wrong}")


def require_path(name: str, value: object) -> None:
    """Raise an `FphiError` if a value is no path."""
    if not isinstance(value, str | os.PathLike) or not str(value).strip():
        raise FphiError(f"{name} is {_text(value)}; it must be the path of a folder")


def require_sizes(least: int = 1, **sizes: int | None) -> None:
    """Raise an `FphiError` for the first size that is no whole number from ``least``; None is left out."""
    for name, size in sizes.items():
        if size is None:
            continue
        if not _is_of(size, int):
            raise FphiError(f"{name} is {_text(size)}; it must be a whole number")
        require_number(name, size, Range(least))


def _range_of(cls: type, name: str) -> Range:
    """As the first class declares it that gives the field a range."""
    for ancestor in cls.__mro__:
        own = vars(ancestor).get("__dataclass_fields__", {}).get(name)
        if own is not None and _KEY in own.metadata:
            return cast(Range, own.metadata[_KEY])
    return cast(Range, getattr(cls, "usual_range", _ANY))


_WORDS: dict[object, str] = {
    **{int: "a whole number", float: "a number", bool: "true or false", str: "a text", tuple: "a list"},
    type(None): "none",
}


@cache
def _kinds(cls: type) -> dict[str, tuple[object, ...]]:
    """What each field's values may be: of plain types, tuples and literals; nothing for other fields."""
    found = {name: tuple(_alternatives(hint)) for name, hint in get_type_hints(cls).items()}
    plain = {name: all(_in_words(kind) for kind in kinds) for name, kinds in found.items()}
    return {name: kinds if plain[name] else () for name, kinds in found.items()}


def _alternatives(hint: Any) -> Iterator[object]:
    origin = get_origin(hint)
    if origin is tuple:
        yield tuple
    elif origin in (Union, UnionType):
        for one in get_args(hint):
            yield from _alternatives(one)
    else:
        yield hint


def _is_of(value: object, kind: object) -> bool:
    """Whether a value is of a type: a list is taken for a tuple, a path for a text, truth for no number."""
    if get_origin(kind) is Literal:
        return any(type(value) is type(one) and value == one for one in get_args(kind))
    wider = {int: Integral, float: Real, str: str | os.PathLike, tuple: tuple | list}
    return isinstance(value, cast(type, wider.get(kind, kind))) and (  # type: ignore[call-overload]
        kind is bool or not isinstance(value, bool)
    )


def _in_words(kind: object) -> str:
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    return _WORDS.get(kind, "")


def _text(value: object) -> str:
    """Short, whatever it is: no thousand digits."""
    if _is_of(value, int):
        number = int(cast(int, value))
        return str(number) if abs(number) < 10**21 else f"a whole number of {number.bit_length()} bits"
    if isinstance(value, float):
        return f"{value:g}"
    written = repr(value)
    return written if len(written) <= 60 else f"{written[:59]}…"
