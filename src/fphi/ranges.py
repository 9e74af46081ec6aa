"""Ranges of options, declared where the options are: a number outside of its own is refused by name."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar, cast

from fphi.errors import FphiError

__all__ = [
    "Range",
    "count",
    "number",
    "rate",
    "require_number",
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
        if isinstance(value, float) and not math.isfinite(value):
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
    """Raise an `FphiError` for the first value of a dataclass's field that is out of the field's range.

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
                require_number(named(own.name), one, _range_of(cls, own.name))


def require_number(name: str, value: float, within: Range) -> None:
    """Raise an `FphiError` if a number is out of a range."""
    wrong = within.refusal(value)
    if wrong:
        raise FphiError(f"{name} is {_text(value)}; it must be {wrong}")


def require_sizes(least: int = 1, **sizes: int | None) -> None:
    """Raise an `FphiError` for the first size that is no whole number from ``least``; None is left out."""
    for name, size in sizes.items():
        if size is None:
            continue
        if not isinstance(size, int):
            raise FphiError(f"{name} is {size!r}; it must be a whole number")
        require_number(name, size, Range(least))


def _range_of(cls: type, name: str) -> Range:
    """As the first class declares it that gives the field a range."""
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
