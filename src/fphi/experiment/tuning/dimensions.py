"""What a tuning varies: one option with the values that it may take, and how these are written."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from fphi.errors import FphiError
from fphi.experiment.parser import flag
from fphi.experiment.plugins import is_in_file

__all__ = ["Dimension", "Value", "Values", "written"]

Value = bool | int | float | str | None
Values = Mapping[str, Value]
_WORDS: Mapping[str, Value] = {"true": True, "false": False, "null": None}
_DIGITS = 4  # of a sampled number: the command that repeats a trial stays short


@dataclass(frozen=True)
class Dimension:
    """One option and the values that it may take: some, or all from ``low`` to ``high``.

    Args:
        name: of the option, as a key of ``config.yaml``.
        choices: the values; none: they are numbers from ``low`` to ``high``.
        low: the least number.
        high: the greatest.
        log: whether numbers are drawn uniformly by their logarithm.
        whole: whether they are whole.
    """

    name: str
    choices: tuple[Value, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False

    @classmethod
    def parse(cls, name: str, text: str, kinds: tuple[Any, ...]) -> Self:
        """From ``0.01:1``, ``0.01:1:log`` or ``1,3,5``.

        Args:
            name: of the option.
            text: what stands behind its ``=``.
            kinds: of the values that it takes.

        Raises:
            FphiError: it is nothing of these.
        """
        if "," not in text and ":" in text:
            return cls._between(name, text, whole=float not in kinds)
        choices = tuple(_value(part.strip(), kinds) for part in text.split(","))
        if len(choices) < 2 or len({(type(c), c) for c in choices}) < len(choices):
            raise FphiError(
                f"--vary {name}={text} gives no two different values; write 1,3,5 or 0.01:1 or 0.01:1:log, "
                f"or give one value by {flag(name)}"
            )
        if any(is_in_file(choice) for choice in choices):
            raise FphiError(f"--vary {name}={text} names a file of Python; give one by {flag(name)}")
        return cls(name, choices)

    @classmethod
    def _between(cls, name: str, text: str, whole: bool) -> Self:
        first, *others = text.split(":")
        numbers = [_number(part, whole) for part in (first, *others[:1])]
        low, high = (math.nan if number is None else number for number in numbers)
        log = others[1:] == ["log"]
        if not (low < high and others[1:] in ([], ["log"])) or (log and low <= 0):
            kind = "whole numbers" if whole else "numbers"
            above = ", the first above 0" if log else ""
            raise FphiError(
                f"--vary {name}={text} is no range; write two {kind}, the smaller first{above}, as 1:9 or "
                "1:9:log"
            )
        return cls(name, (), low, high, log, whole)

    @property
    def text(self) -> str:
        """As `parse` reads it."""
        if self.choices:
            return ",".join(map(written, self.choices))
        return f"{self._text(self.low)}:{self._text(self.high)}{':log' if self.log else ''}"

    @property
    def ends(self) -> tuple[Value, ...]:
        """Values which show whether the option takes all."""
        return self.choices or (self._number(self.low), self._number(self.high))

    @property
    def values(self) -> Sequence[Value] | None:
        """All of them, where they can be counted."""
        return self.choices or (range(int(self.low), int(self.high) + 1) if self.whole else None)

    def holds(self, value: object) -> bool:
        """Whether it is one of the values."""
        if self.choices:
            return any(type(value) is type(choice) and value == choice for choice in self.choices)
        number = isinstance(value, int) if self.whole else isinstance(value, int | float)
        return number and not isinstance(value, bool) and self.low <= float(str(value)) <= self.high

    def rounded(self, value: Value) -> Value:
        """A sampled value with so few digits as a user would give it."""
        if self.choices or isinstance(value, int | str | None):
            return value
        return min(max(float(f"{value:.{_DIGITS}g}"), self.low), self.high)

    def _number(self, number: float) -> Value:
        return int(number) if self.whole else float(number)

    def _text(self, number: float) -> str:
        return written(self._number(number))


def written(value: Value) -> str:
    """A value as the command line takes it.

    >>> written(None), written(True), written(0.4), written(4.0), written("cosine")
    ('null', 'true', '0.4', '4', 'cosine')
    """
    if isinstance(value, float) and float(f"{value:g}") == value:
        return f"{value:g}"
    return next((word for word, means in _WORDS.items() if means is value), str(value))


def _value(text: str, kinds: tuple[Any, ...]) -> Value:
    if text in _WORDS and _WORDS[text] is None:
        return None
    if bool in kinds and text in _WORDS:
        return _WORDS[text]
    for whole in (True, False):
        number = _number(text, whole)
        if (int if whole else float) in kinds and number is not None:
            return number
    return text


def _number(text: str, whole: bool) -> int | float | None:
    try:
        return int(text) if whole else float(text)
    except ValueError:
        return None
