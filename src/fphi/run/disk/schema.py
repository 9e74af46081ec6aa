"""What values of a file may be: every reader of JSON checks its values by these, before it uses any of them.

All raise a `ValueError` that says what was found, shortened; the reader adds the file and what to do.
"""

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["group", "number", "numbers", "require", "shortened", "text", "whole"]

_MOST = 2**63 - 1


def shortened(value: object, longest: int = 60) -> str:
    """A value as Python writes it, cut to what a line has room for.

    >>> shortened("x" * 100, 10)
    "'xxxxxxxx…"
    """
    written = repr(value)
    return written if len(written) <= longest else f"{written[: longest - 1]}…"


def require(holds: bool, otherwise: str) -> None:
    """Raise unless it holds."""
    if not holds:
        raise ValueError(otherwise)


def whole(value: Any, name: str = "", low: int = -_MOST, high: int = _MOST) -> int:
    """A whole number from ``low`` to ``high``; true and 2.0 are none.

    >>> whole(3, "step", 0)
    3
    """
    require(type(value) is int, _said(value, name, "no whole number"))
    require(low <= value <= high, _said(value, name, f"not in {low}..{high}"))
    return int(value)


def number(value: Any, name: str = "", low: float = -math.inf, high: float = math.inf) -> float:
    """A number from ``low`` to ``high``, as it stands; not finite ones only where no bound was given."""
    require(type(value) in (int, float), _said(value, name, "no number"))
    bounded = low > -math.inf or high < math.inf
    inside = low <= value <= high and (math.isfinite(value) or not bounded)
    require(inside or not bounded, _said(value, name, f"not in {low:g}..{high:g}"))
    found: float = value  # a whole one stays one, so that it is written as before
    return found


def text(value: Any, name: str = "") -> str:
    """A text."""
    require(isinstance(value, str), _said(value, name, "no text"))
    return str(value)


def group(value: Any, name: str = "") -> dict[str, Any]:
    """Values by name."""
    require(isinstance(value, dict), _said(value, name, "no values by name"))
    found: dict[str, Any] = value
    return found


def numbers(values: Mapping[str, Any], name: str = "") -> dict[str, float]:
    """Numbers by name."""
    return {key: number(value, key) for key, value in group(values, name).items()}


def _said(value: object, name: str, wrong: str) -> str:
    return f"{name} is {shortened(value)}, {wrong}" if name else f"{shortened(value)} is {wrong}"
