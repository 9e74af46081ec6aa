"""What the searches in a supernet tell of each epoch."""

import math
from typing import Any

__all__ = ["EpochRow", "rows_of"]

# Numbers by name.
EpochRow = dict[str, float]


def rows_of(values: Any) -> list[EpochRow]:
    """The rows in the state of a search, one for each epoch.

    Raises:
        ValueError: they are none.
    """
    if not isinstance(values, list):
        raise ValueError("its rows are no list")
    for number, row in enumerate(values, start=1):
        numbers = isinstance(row, dict) and all(
            isinstance(name, str) and type(value) in (int, float) and math.isfinite(value)
            for name, value in row.items()
        )
        if not numbers or row.get("epoch") != number:
            raise ValueError(f"its row of epoch {number} is none")
    return list(values)
