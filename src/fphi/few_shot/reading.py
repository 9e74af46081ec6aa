"""A user's data as they are: a folder or zip with one folder per class, or a table with labels."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from fphi.errors import DataError
from fphi.few_shot.items import FileList, Items, kind_of_files
from fphi.tasks.archive import open_archive
from fphi.tasks.folder import class_files
from fphi.tasks.image import SUFFIXES
from fphi.tasks.sound import SOUND_SUFFIXES

__all__ = ["Data", "Source", "Table", "read_data", "read_questions"]

_LABELS = ("label", "class", "target", "category", "intent", "y")
_LARGEST = 2**28
"""Bytes of a table that is read."""
_SEPARATORS = ",;\t|"
TABLES = (".csv", ".tsv", ".txt")


@dataclass(frozen=True)
class Source:
    """How a table was read, so that others are read alike.

    Args:
        columns: that were learned from.
        text: the column of texts that was; None: the columns are numbers and values.
    """

    columns: tuple[str, ...] = ()
    text: str | None = None


@dataclass(frozen=True)
class Data:
    """Examples with their labels.

    Args:
        items: the examples.
        labels: one for each.
        tested: others to test on, where the data came divided.
        source: of a table.
        notes: what a user should know of how they were read.
    """

    items: Items
    labels: list[str]
    tested: tuple[Items, list[str]] | None = None
    source: Source = field(default_factory=Source)
    notes: tuple[str, ...] = ()


def read_data(path: Path, label: str | None = None, text: str | None = None) -> Data:
    """Read examples and labels.

    Args:
        path: a folder or zip as `fphi.load_folder` reads it, of images or WAV files; with splits train and
            test the first is learned from, and the second tested on. Or a table (.csv, .tsv) whose first line
            names the columns.
        label: the column of the labels; None: the one called label, class, target, category, intent or y,
            else the last.
        text: the column of texts, where there are more than this and the labels.

    Raises:
        DataError: there is no such file or column, or nothing in it to learn from.
    """
    if path.is_dir() or path.suffix.lower() == ".zip":
        if label is not None or text is not None:
            raise DataError(f"{path} is no table, so it has no columns; leave --label and --text out")
        return _of_folder(path)
    if path.suffix.lower() not in TABLES[:2]:
        raise DataError(f"{path} is no folder, zip, .csv or .tsv; give one of these")
    table = Table.read(path)
    at = table.column(label) if label is not None else table.label_column()
    source = _source(table, at, text)
    kept = [row for row in table.rows if row[at].strip()]
    bare = len(table.rows) - len(kept)
    notes: tuple[str, ...] = (f"{bare} rows have no label",) if bare else ()
    if not kept:
        raise DataError(f"{path} has no row with a label in column {table.names[at]!r}; name it with --label")
    notes += (f"labels are those of column {table.names[at]!r}",)
    return Data(
        _items(Table(path, table.names, kept), source), [row[at].strip() for row in kept], None, source, notes
    )


def read_questions(files: Sequence[str], kind: str, source: Source) -> tuple[Items, list[str]]:
    """Examples without labels, and a name for each.

    Args:
        files: images or recordings, folders or zips of these, or tables; of texts also .txt files of lines.
        kind: of the examples that were learned from.
        source: how these were read.

    Raises:
        DataError: a file cannot be read, or is of another kind.
    """
    if kind in ("rows", "texts"):
        parts = [_table_items(Path(file), kind, source) for file in files]
        names = [
            f"{Path(file).name}:{i + 1}"
            for file, part in zip(files, parts, strict=True)
            for i in range(len(part))
        ]
        values = [value for part in parts for value in part.values]
        return Items(
            parts[0].kind, np.array(values, dtype=object) if kind == "rows" else values, None, source.columns
        ), names
    sources = [source for file in files for source in _files_below(Path(file))]
    names = [name for name, _ in sources]
    return Items(kind_of_files(names), names, FileList(sources)), names


def _files_below(path: Path) -> list[tuple[str, Callable[[], bytes]]]:
    """A file, or those of a folder or zip: the name of each, and what reads it."""
    if not path.is_dir() and path.suffix.lower() != ".zip":
        return [(str(path), path.read_bytes)]
    archive = open_archive(path)
    found = [name for name in archive.names() if name.lower().endswith((*SUFFIXES, *SOUND_SUFFIXES))]
    if not found:
        raise DataError(f"{path} holds no image and no WAV file; give another folder, or files")
    return [(f"{path}/{name}", partial(archive.read, name)) for name in found]


def _of_folder(path: Path) -> Data:
    found = class_files(path)
    splits = {split for split, _ in found.files}
    train = "train" if {"train", "test"} <= splits else None

    def part(of: str | None) -> tuple[Items, list[str]]:
        pairs = [
            (name, label)
            for (split, label), names in sorted(found.files.items())
            if of is None or split == of
            for name in names
        ]
        names = [name for name, _ in pairs]
        return Items(kind_of_files(names), names, found.archive), [label for _, label in pairs]

    items, labels = part(train)
    return Data(items, labels, part("test") if train else None, notes=found.notes)


@dataclass(frozen=True)
class Table:
    """A table of texts whose first line names its columns.

    Args:
        path: of its file.
        names: of the columns.
        rows: of cells, as many in each.
    """

    path: Path
    names: tuple[str, ...]
    rows: list[list[str]]

    @classmethod
    def read(cls, path: Path) -> "Table":
        """Read a file of values that commas, semicolons, tabs or bars separate.

        Raises:
            DataError: it is no such file, or a row has another number of cells.
        """
        text = _text_of(path)
        first = text.split("\n", 1)[0]
        separator = "\t" if path.suffix.lower() == ".tsv" else max(_SEPARATORS, key=first.count)
        try:
            lines = [
                row for row in csv.reader(io.StringIO(text), delimiter=separator, strict=True) if any(row)
            ]
        except csv.Error as error:
            raise DataError(f"{path} is no table ({error}); write it with one row a line") from error
        if len(lines) < 2:
            raise DataError(f"{path} has no rows below its first line, which names the columns; give some")
        names = tuple(name.strip() for name in lines[0])
        for number, row in enumerate(lines[1:], 2):
            if len(row) != len(names):
                raise DataError(
                    f"{path} has {len(row)} cells in row {number}, and {len(names)} columns; mend it"
                )
        return cls(path, names, lines[1:])

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


def _source(table: Table, label: int, text: str | None) -> Source:
    if len(table.names) < 2:
        raise DataError(
            f"{table.path} has one column, {table.names[0]!r}; it needs labels and something to learn from"
        )
    others = tuple(name for i, name in enumerate(table.names) if i != label)
    if text is None and len(others) == 1 and not _are_numbers(table, others[0]):
        values = [row[table.column(others[0])] for row in table.rows]
        if len(set(values)) > len(values) // 2:
            text = others[0]
    if text is not None:
        table.column(text)
        return Source((text,), text)
    return Source(others)


def _are_numbers(table: Table, name: str) -> bool:
    at = table.column(name)
    try:
        return all(float(row[at] or "0") is not None for row in table.rows)
    except ValueError:
        return False


def _items(table: Table, source: Source) -> Items:
    places = [table.column(name) for name in source.columns]
    if source.text is not None:
        return Items("texts", [row[places[0]] for row in table.rows])
    return Items(
        "rows", np.array([[row[i] for i in places] for row in table.rows], dtype=object), None, source.columns
    )


def _table_items(path: Path, kind: str, source: Source) -> Items:
    if path.suffix.lower() == ".txt" and kind == "texts":
        lines = [line for line in _text_of(path).splitlines() if line.strip()]
        if not lines:
            raise DataError(f"{path} holds no text; write one a line")
        return Items("texts", lines)
    if path.suffix.lower() not in TABLES[:2]:
        raise DataError(
            f"{path} is no table (.csv or .tsv), as the data were that the model has learned; give one"
        )
    return _items(Table.read(path), source)


def _text_of(path: Path) -> str:
    try:
        if path.stat().st_size > _LARGEST:
            raise DataError(f"{path} has more than {_LARGEST} bytes; give a part of it")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}); check the path") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text in UTF-8; save it as such") from error
