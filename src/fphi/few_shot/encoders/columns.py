"""Rows of a table as numbers: columns of numbers as they are, others one column for each of their values."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fphi.few_shot.encoders.base import Encoder
from fphi.few_shot.items import ExamplesError, Items, Kind, ValueKindError
from fphi.run.disk.files import Json

__all__ = ["Columns", "are_numbers", "is_missing"]

_MOST_VALUES = 100
"""Of one column that holds no numbers: more of them are names or texts, and say nothing of a new row."""
_LARGEST = 1e100
"""Of a number: products of larger ones are no numbers any more."""
_MISSING = ("", "na", "n/a", "nan", "none", "null", "?", "<na>", "nat")


class Columns(Encoder):
    """A number for each column of numbers, 1 and 0 for each value of the others.

    Where a number is missing (NaN, None, an empty cell) the mean of the examples' column stands for it, and a
    column more says so; a value that the examples do not have is none of theirs. Which column is what, and
    the means, are those of the first examples.
    """

    name: ClassVar[str] = "columns"
    kinds: ClassVar[tuple[Kind, ...]] = ("rows",)
    unit: ClassVar[bool] = False

    def __init__(self, columns: list[dict[str, Any]] | None = None, names: tuple[str, ...] = ()) -> None:
        self.columns, self.names = columns, names

    def learn(self, items: Items) -> Self:
        self.require_kind(items)
        table = np.asarray(items.values)
        made = type(self)(names=items.columns)
        made.columns = [_described(table[:, j], made._name(j)) for j in range(table.shape[1])]
        dropped = [made._name(j) for j, c in enumerate(made.columns) if not (c["values"] or c["number"])]
        if dropped:
            named = ", ".join(dropped[:20])
            if len(dropped) == len(made.columns):
                raise ExamplesError(
                    f"no column is left to learn from: column {named} holds no numbers, and its values "
                    "hardly repeat; if one holds texts name it, as --text COLUMN, or give texts as a list"
                )
            made.notes = (f"left out, since its values hardly repeat: column {named}",)
        return made

    @property
    def numbers(self) -> tuple[int, ...]:
        """Which of the columns are numbers, from 0."""
        return tuple(j for j, column in enumerate(self.columns or []) if column["number"])

    def _name(self, j: int) -> str:
        return self.names[j] if j < len(self.names) else f"number {j}"

    def encode(self, items: Items) -> Tensor:
        self.require_kind(items)
        assert self.columns is not None
        table = np.asarray(items.values)
        if table.shape[1] != len(self.columns):
            raise ExamplesError(
                f"X has {table.shape[1]} features, but FewShotClassifier is expecting {len(self.columns)} "
                "features as input: give the columns of fit"
            )
        parts = [_encoded(table[:, j], column, self._name(j)) for j, column in enumerate(self.columns)]
        return torch.from_numpy(np.concatenate([*parts, np.zeros((len(table), 0))], 1))

    def spec(self) -> dict[str, Json]:
        columns: list[Json] = [dict(c) for c in self.columns or []]
        return {"columns": columns, "names": list(self.names)}

    @classmethod
    def restored(cls, spec: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """What `spec` and `tensors` tell."""
        return cls([dict(c) for c in spec["columns"]], tuple(spec["names"]))


def _described(column: NDArray[Any], name: str) -> dict[str, Any]:
    numbers = _numbers(column, name)
    if numbers is None:
        values = sorted({text for text in map(_text, column) if text is not None})
        repeats = len(values) <= max(_MOST_VALUES if len(column) > 2 * _MOST_VALUES else 0, len(column) // 2)
        return {"number": False, "values": values if repeats else []}
    known = numbers[~np.isnan(numbers)]
    mean = float(known.mean()) if len(known) else 0.0
    return {"number": True, "mean": mean, "missing": bool(len(known) < len(numbers)), "values": []}


def _encoded(column: NDArray[Any], described: Mapping[str, Any], name: str) -> NDArray[np.float64]:
    if not described["number"]:
        texts = np.array([_text(v) for v in column], dtype=object)
        ones = [np.equal(texts, value).astype(np.float64) for value in described["values"]]
        return np.stack(ones, 1) if ones else np.zeros((len(column), 0))
    numbers = _numbers(column, name)
    if numbers is None:
        strange = next(v for v in column if _numbers(np.array([v], dtype=object), name) is None)
        raise ExamplesError(
            f"could not convert {str(strange)[:50]!r} to a number, as column {name} has in those of fit"
        )
    missing = np.isnan(numbers)
    filled = np.where(missing, described["mean"], numbers)[:, None]
    return np.concatenate([filled, missing[:, None]], 1) if described["missing"] else filled


def _numbers(column: NDArray[Any], name: str) -> NDArray[np.float64] | None:
    """As numbers, NaN where one is missing; None: some are none."""
    if column.dtype.kind in "biuf":
        numbers: NDArray[np.float64] = column.astype(np.float64)
    else:
        if any(isinstance(v, dict | list | set | tuple) for v in column):
            kind = type(column[0]).__name__
            raise ValueKindError(f"a cell of X is a {kind}: the argument must be a string or a number")
        try:
            numbers = np.array([np.nan if is_missing(v) else _number(v) for v in column])
        except (TypeError, ValueError):
            return None
    if np.isinf(numbers).any():
        raise ExamplesError(
            f"X contains infinity or a value too large for a double, in column {name}; replace it"
        )
    large = np.abs(numbers) > _LARGEST
    if large.any():
        raise ExamplesError(
            f"column {name} has {numbers[large][0]:g}, and numbers beyond {_LARGEST:g} are not learned from; "
            "scale it"
        )
    return numbers


def _number(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number of many digits
        return float("inf")


def are_numbers(cells: Iterable[Any]) -> bool:
    """Whether all are numbers."""
    try:
        return all(_number(cell) is not None for cell in cells)
    except (TypeError, ValueError):
        return False


def is_missing(value: object) -> bool:
    """Whether a cell says that there is nothing in it."""
    return _text(value) is None


def _text(value: object) -> str | None:
    """A cell as text; None: it is empty."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return None
    text = str(value).strip()
    return None if text.lower() in _MISSING else text
