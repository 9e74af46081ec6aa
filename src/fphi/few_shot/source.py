"""Which columns of a table are learned from: not those that count its rows, and of texts the texts alone."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fphi.errors import DataError
from fphi.few_shot.table import Table

__all__ = ["Source", "source_of"]

_UNNAMED = re.compile(r"(Unnamed: \d.*)?")
"""What pandas calls, or leaves without a name: the numbers of the rows."""
_WORDS = 2
"""Words of a text, by the mean of its column."""
_MEASURES = 2
"""Columns of numbers beside which texts are taken for names, of passengers or products."""
_UNSPACED = re.compile(r"[\u3040-\u9fff]{2}")
"""Of scripts that put no space between words."""


@dataclass(frozen=True)
class Source:
    """How a table was read, so that others are read alike.

    Args:
        columns: that were learned from; empty: they had no names.
        text: the column of texts that was; None: the columns are numbers and values.
        width: how many columns were learned from; None: this is not known.
        numbers: which of these are numbers, counted from 0; None: the table that is read shows it.
    """

    columns: tuple[str, ...] = ()
    text: str | None = None
    width: int | None = None
    numbers: tuple[int, ...] | None = None


def source_of(table: Table, label: int, text: str | None) -> tuple[Source, tuple[str, ...]]:
    """The columns to learn from, and what a user should know of the choice.

    Args:
        table: with labels.
        label: where these are.
        text: the column of texts; None: it is found out whether there is one.

    Raises:
        DataError: there is nothing to learn from, or more than one column of texts.
    """
    if len(table.names) < 2:
        raise DataError(
            f"{table.path} has one column, {table.names[0]!r}; it needs labels and something to learn from"
        )
    if text is not None:
        if table.column(text) == label:
            raise DataError(f"--text is {text!r}, the column of the labels; name another, or --label")
        return Source((text,), text), ()
    others = [at for at in range(len(table.names)) if at != label]
    kept, notes = _without_counts(table, others)
    texts = [at for at in kept if _mostly_differ(table, at) and (len(kept) == 1 or _has_words(table, at))]
    rest = [at for at in kept if at not in texts]
    if not texts or sum(_measures(table, at) for at in rest) >= _MEASURES:
        if texts:
            notes += (f"of texts, which --text COLUMN learns from alone: column {_named(table, texts)}",)
        return Source(tuple(table.names[at] for at in kept)), notes
    if len(texts) > 1:
        raise DataError(
            f"{table.path} has {len(texts)} columns of texts, {_named(table, texts)}; name the one to learn "
            f"from, as --text {table.names[texts[0]]!r}"
        )
    if rest:
        beside = _named(table, rest)
        notes += (f"texts are those of column {_named(table, texts)}; left out beside it: column {beside}",)
    name = table.names[texts[0]]
    return Source((name,), name), notes


def _without_counts(table: Table, places: Sequence[int]) -> tuple[list[int], tuple[str, ...]]:
    """The columns that do not just count the rows."""
    unnamed = [at for at in places if _UNNAMED.fullmatch(table.names[at])]
    counts = [at for at in places if at not in unnamed and _counts(table, at)]
    kept = [at for at in places if at not in (*unnamed, *counts)]
    if not (kept or counts):
        raise DataError(
            f"{table.path} has nothing to learn from: beside the labels its columns have no name; name them"
        )
    notes: tuple[str, ...] = ()
    if not kept:
        only = f"column {_named(table, counts)} counts the rows, and there is no other to learn from"
        kept, notes = counts, (only,)
    elif counts:
        notes = (f"left out, since it counts the rows: column {_named(table, counts)}",)
    if unnamed:
        notes += (f"left out, since it has no name: column {_named(table, unnamed)}",)
    return kept, notes


def _named(table: Table, places: Sequence[int]) -> str:
    return ", ".join(repr(table.names[at]) for at in places[:20])


def _counts(table: Table, at: int) -> bool:
    """Whether a column is 0, 1, 2, … or 1, 2, 3, …"""
    cells = [row[at].strip() for row in table.rows if any(row)]
    return cells[0] in ("0", "1") and cells == [str(int(cells[0]) + i) for i in range(len(cells))]


def _mostly_differ(table: Table, at: int) -> bool:
    """Whether most values of a column are there once, and they are no numbers."""
    cells = [row[at] for row in table.rows]
    return len(set(cells)) > len(cells) // 2 and not table.has_numbers(at)


def _measures(table: Table, at: int) -> bool:
    """Whether a column holds numbers, some with decimals or twice, which those of orders have not."""
    cells = [row[at].strip() for row in table.rows]
    return table.has_numbers(at) and not (len(set(cells)) == len(cells) and all(c.isdecimal() for c in cells))


def _has_words(table: Table, at: int) -> bool:
    """Whether a value of a column has several words, by their mean."""
    cells = table.cells(at)
    return sum(map(_words, cells)) >= _WORDS * len(cells) > 0


def _words(cell: str) -> int:
    spaced = sum(any(letter.isalpha() for letter in word) for word in cell.split())
    return max(spaced, len(_UNSPACED.findall(cell)))
