"""A user's data as they are: a folder or zip with one folder per class, or a table with labels."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from fphi.errors import DataError
from fphi.few_shot.items import FileList, Items, kind_of_files
from fphi.few_shot.source import Source, source_of
from fphi.few_shot.table import Table, text_of
from fphi.tasks.archive import open_archive
from fphi.tasks.folder import class_files
from fphi.tasks.image import SUFFIXES
from fphi.tasks.sound import SOUND_SUFFIXES

__all__ = ["Data", "Source", "read_data", "read_questions"]

TABLES = (".csv", ".tsv", ".txt")


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
    return _of_table(Table.read(path), label, text)


def _of_table(table: Table, label: str | None, text: str | None) -> Data:
    at = table.column(label) if label is not None else table.label_column()
    kept = [i for i, row in enumerate(table.rows) if row[at].strip()]
    if not kept:
        raise DataError(
            f"{table.path} has no row with a label in column {table.names[at]!r}; name it with --label"
        )
    notes: tuple[str, ...] = ()
    if bare := len(table.rows) - len(kept):
        notes += (f"{bare} {'row has' if bare == 1 else 'rows have'} no label",)
    notes += (f"labels are those of column {table.names[at]!r}",)
    decimal = [i for i in range(len(table.names)) if i != at and table.has_decimal_commas(i)]
    table = table.with_points(decimal)
    source, more = source_of(table, at, text)
    if read := [table.names[i] for i in decimal if table.names[i] in source.columns]:
        notes += (f"a comma is before the decimals in column {', '.join(map(repr, read))}",)
    table = table.taken(kept)
    return Data(_items(table, source), [row[at].strip() for row in table.rows], None, source, notes + more)


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
        parts = [_asked(Path(file), kind, source) for file in files]
        names = [
            f"{file}:{number}" for file, (_, numbers) in zip(files, parts, strict=True) for number in numbers
        ]
        values = [value for part, _ in parts for value in part.values]
        rows = np.array(values, dtype=object) if kind == "rows" else values
        return Items(parts[0][0].kind, rows, None, source.columns), names
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
    counts = {split: sum(len(v) for (s, _), v in found.files.items() if s == split) for split in splits}
    notes = (*found.notes, *_of_splits(counts))
    return Data(items, labels, part("test") if train else None, notes=notes)


def _of_splits(counts: Mapping[str, int]) -> tuple[str, ...]:
    """What is done with folders that are neither learned from alone nor tested on, by their files."""
    if {"train", "test"} <= counts.keys():
        return tuple(
            f"neither learned from nor tested on: {split or 'what is beside train and test'} ({count} files)"
            for split, count in sorted(counts.items())
            if split not in ("train", "test")
        )
    named = sorted(split for split in counts if split)
    if not named or len(counts) < 2:
        return ()
    also = " and the folders beside them" if "" in counts else ""
    return (
        f"all of {', '.join(named)}{also} is learned from, and nothing tested on, since there are not both "
        "train and test",
    )


def _items(table: Table, source: Source) -> Items:
    places = [table.column(name) for name in source.columns]
    if source.text is not None:
        return Items("texts", [row[places[0]] for row in table.rows])
    return Items(
        "rows", np.array([[row[i] for i in places] for row in table.rows], dtype=object), None, source.columns
    )


def _asked(path: Path, kind: str, source: Source) -> tuple[Items, list[int]]:
    """What a table or file of lines asks, and where in it each row or line is, from 1."""
    if path.suffix.lower() == ".txt" and kind == "texts":
        lines = [(n, line) for n, line in enumerate(text_of(path).split("\n"), 1) if line.strip()]
        if not lines:
            raise DataError(f"{path} holds no text; write one a line")
        return Items("texts", [line for _, line in lines]), [n for n, _ in lines]
    if path.suffix.lower() not in TABLES[:2]:
        raise DataError(
            f"{path} is no table (.csv or .tsv), as the data were that the model has learned; give one"
        )
    table = Table.read(path)
    if not source.columns:
        source = _all_columns(table, kind, source)
    places = [table.column(name) for name in source.columns]
    if source.text is None:
        known = range(len(places)) if source.numbers is None else source.numbers
        table = table.with_points(
            places[i] for i in known if source.numbers or table.has_decimal_commas(places[i])
        )
    return _items(table, source), table.numbers


def _all_columns(table: Table, kind: str, source: Source) -> Source:
    """Those of a table for a model of examples without names of columns, which were given in Python."""
    wanted = 1 if kind == "texts" else source.width
    if wanted is not None and len(table.names) != wanted:
        what = "texts" if kind == "texts" else f"rows of {wanted} numbers or values"
        raise DataError(
            f"{table.path} has {len(table.names)} columns, and the model has learned {what}, without names; "
            f"give a table of {wanted} column{'' if wanted == 1 else 's'}"
        )
    return replace(source, columns=table.names, text=table.names[0] if kind == "texts" else None)
