"""Tables of text as users save them, with what separates their cells and marks their decimals found out."""

import csv
import io
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from fphi.errors import DataError
from fphi.few_shot.encoders.columns import are_numbers, is_missing

__all__ = ["Table", "text_of"]

_LABELS = ("label", "class", "target", "category", "intent", "y")
_LARGEST = 2**28
"""Bytes of a table that is read."""
_SEPARATORS = ",;\t|"
_SEEN = 20
"""Rows by which the separator is found."""
_SAID = re.compile(r'\s*"?sep=([^"\w\s]|[\t ])"?[,;\t|]*(\n|$)')
"""The line by which Excel says what separates."""
_DECIMAL = re.compile(r"[-+]?\d+(,\d+)?(e[-+]?\d+)?", re.ASCII | re.IGNORECASE)
_MAYBE_THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2},\d{3}", re.ASCII)


@dataclass(frozen=True)
class Table:
    """A table of texts whose first line names its columns.

    Args:
        path: of its file.
        names: of the columns.
        rows: of cells, as many in each.
        numbers: of each row where it is in the file: 1 is the first below the names, blank lines count too.
        separator: of the cells.
    """

    path: Path
    names: tuple[str, ...]
    rows: list[list[str]]
    numbers: list[int]
    separator: str

    @classmethod
    def read(cls, path: Path) -> "Table":
        """Read a file of values that commas, semicolons, tabs or bars separate.

        Raises:
            DataError: it is no such file, or a row has another number of cells.
        """
        text, said = _without_said(text_of(path))
        separator = "\t" if path.suffix.lower() == ".tsv" else said or _separator(text)
        try:
            lines = list(_lines(text, separator))
        except csv.Error as error:
            raise DataError(f"{path} is no table ({error}); write it with one row a line") from error
        if len(lines) < 2:
            raise DataError(f"{path} has no rows below its first line, which names the columns; give some")
        (first, head), *rest = lines
        for number, row in rest:
            if len(row) != len(head):
                raise DataError(
                    f"{path} has {len(row)} cells in row {number} (row {first} has the names), and "
                    f"{len(head)} columns; mend it"
                )
        names = tuple(name.strip() for name in head)
        return cls(path, names, [row for _, row in rest], [number - first for number, _ in rest], separator)

    def column(self, name: str) -> int:
        """Where a column is.

        Raises:
            DataError: there is none of that name, or two.
        """
        if self.names.count(name) != 1:
            raise DataError(
                f"{self.path} has {self.names.count(name)} columns {name!r}, of {', '.join(self.names[:20])}"
            )
        return self.names.index(name)

    def label_column(self) -> int:
        """The column of labels, by its name; else the last."""
        lower = [name.lower() for name in self.names]
        return next((lower.index(name) for name in _LABELS if name in lower), len(lower) - 1)

    def cells(self, at: int) -> list[str]:
        """Those of a column that are not missing."""
        return [row[at].strip() for row in self.rows if not is_missing(row[at])]

    def has_numbers(self, at: int) -> bool:
        """Whether a column holds numbers alone."""
        return are_numbers(self.cells(at))

    def has_decimal_commas(self, at: int) -> bool:
        """Whether a column holds numbers with a comma before their decimals.

        Whole numbers may be among them, unless the commas could be those of thousands.
        """
        cells = self.cells(at) if self.separator != "," else []
        commas = [cell for cell in cells if "," in cell]
        sure = len(commas) == len(cells) or not all(map(_MAYBE_THOUSANDS.fullmatch, commas))
        return bool(commas) and sure and all(map(_DECIMAL.fullmatch, cells))

    def with_points(self, places: Iterable[int]) -> "Table":
        """With points for the decimal commas of some columns."""
        chosen = set(places) if self.separator != "," else set()
        if not chosen:
            return self
        return replace(
            self,
            rows=[
                [_pointed(cell) if i in chosen else cell for i, cell in enumerate(row)] for row in self.rows
            ],
        )

    def taken(self, kept: Iterable[int]) -> "Table":
        """Some of the rows."""
        places = list(kept)
        return replace(self, rows=[self.rows[i] for i in places], numbers=[self.numbers[i] for i in places])


def text_of(path: Path) -> str:
    """What is in a file of text; its lines end in a line feed.

    Raises:
        DataError: it cannot be read, is too large, or is no text.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise DataError(f"{path} has more than {_LARGEST} bytes; give a part of it")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}); check the path") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text in UTF-8; save it as such") from error


def _pointed(cell: str) -> str:
    return cell.replace(",", ".") if _DECIMAL.fullmatch(cell.strip()) else cell


def _without_said(text: str) -> tuple[str, str]:
    """A blank line in place of the one that says what separates, and what it says."""
    said = _SAID.match(text)
    if said is None:
        return text, ""
    return "\n" * said.group().count("\n") + text[said.end() :], said.group(1)


def _lines(text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank lines, with the number of each in the file."""
    with _long_cells():
        for number, row in enumerate(csv.reader(io.StringIO(text), delimiter=separator, strict=True), 1):
            if row and not (len(row) == 1 and row[0].isspace()):
                yield number, row


@contextmanager
def _long_cells() -> Iterator[None]:
    """A cell may be as long as a file; csv's own limit is one of the whole process."""
    before = csv.field_size_limit(_LARGEST)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _separator(text: str) -> str:
    """What parts the first rows into equally many cells, the most of them; else the first row."""
    widths = {separator: _widths(text, separator) for separator in _SEPARATORS}
    even = [separator for separator, found in widths.items() if len(set(found)) == 1 and found[0] > 1]
    return max(even or _SEPARATORS, key=lambda separator: widths[separator][:1])


def _widths(text: str, separator: str) -> list[int]:
    """How many cells the first rows have; 0 ends them where one cannot be parsed."""
    found: list[int] = []
    try:
        for _, row in islice(_lines(text, separator), _SEEN):
            found.append(len(row))
    except csv.Error:
        found.append(0)
    return found
