"""Tables of accuracies, and their rendering as Markdown, HTML and on the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING

from fphi.errors import printable
from fphi.report.files import IntervalRecord, Result
from fphi.report.published import Published, published

if TYPE_CHECKING:
    from rich.table import Table as RichTable

__all__ = ["Interval", "Row", "Table", "methods_table", "percent", "points", "sources", "task_size"]


def percent(mean: float, ci95: float | None = None) -> str:
    """Fractions as per cent with two decimals.

    >>> percent(0.98716, 0.0031)
    '98.72 ± 0.31'
    """
    interval = "" if ci95 is None else f" ± {100 * ci95:.2f}"
    return f"{100 * mean:.2f}{interval}"


def points(difference: float, ci95: float | None = None) -> str:
    """A signed difference of fractions in per cent points; a true minus sign, and no ``−0.00``.

    >>> points(-0.004), points(0.0123, 0.005), points(-1e-9)
    ('−0.40', '+1.23 ± 0.50', '0.00')
    """
    text = f"{100 * difference:+.2f}"
    text = "0.00" if float(text) == 0 else text.replace("-", "−")
    return text if ci95 is None else f"{text} ± {100 * ci95:.2f}"


@dataclass(frozen=True)
class Table:
    """Plain text cells under a header; every line of ``body`` is as long as ``header``.

    Several values in one cell are separated by a newline.
    """

    header: tuple[str, ...]
    body: tuple[tuple[str, ...], ...]

    def without_empty_columns(self) -> Table:
        """The same table without the columns that are empty in every line."""
        kept = [i for i in range(len(self.header)) if any(line[i] for line in self.body)]
        return Table(tuple(self.header[i] for i in kept), tuple(tuple(n[i] for i in kept) for n in self.body))

    def markdown(self) -> str:
        r"""A pipe table; ``|`` in a cell is escaped.

        >>> print(Table(("a", "b"), (("1|2", "3"),)).markdown())
        | a | b |
        | --- | --- |
        | 1\|2 | 3 |
        """
        lines = [self.header, ("---",) * len(self.header), *self.body]
        return "\n".join(f"| {' | '.join(_one_line(cell) for cell in line)} |" for line in lines)

    def html(self) -> str:
        r"""A ``<table>`` element with escaped cells; the first cell of a line heads its row.

        >>> Table(("a", "b"), (("<", "1\n2"),)).html().splitlines()[3]
        '<tr><th scope="row">&lt;</th><td>1<br>2</td></tr>'
        """
        head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in self.header)
        body = "\n".join(f"<tr>{_html_cells(line)}</tr>" for line in self.body)
        return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"

    def rich(self, title: str | None = None, width: int = 80) -> RichTable:
        """A table for a terminal of this width, or wider where a word or a figure would be cut otherwise.

        Brackets in cells are text, not markup.
        """
        from rich.table import Table as RichTable
        from rich.text import Text

        shown = [[_printable_lines(cell) for cell in line] for line in (self.header, *self.body)]
        table = RichTable(title=title)
        widths = _column_widths(list(zip(*shown, strict=True)), width - 3 * len(self.header) - 1)
        for cell, wide in zip(shown[0], widths, strict=True):
            table.add_column(Text(cell), width=wide)
        for line in shown[1:]:
            table.add_row(*map(Text, line))
        return table

    def show(self, title: str | None = None) -> None:
        """Print it for the terminal."""
        from rich.console import Console

        console = Console()
        table = self.rich(title, console.width)
        whole = sum(column.width or 0 for column in table.columns) + 3 * len(table.columns) + 1
        Console(width=max(console.width, whole)).print(table)


def _printable_lines(cell: str) -> str:
    """A cell's lines without what a terminal would obey."""
    return "\n".join(map(printable, cell.split("\n")))


def _column_widths(columns: Sequence[Sequence[str]], room: int) -> list[int]:
    """The characters that each column needs for its lines, or has room for, and no fewer than for its words.

    >>> _column_widths([("Name", "Siamese networks"), ("Accuracy", "98.4")], 20)
    [12, 8]
    """
    from rich.cells import cell_len

    words = [" ".join(column).replace(" ± ", "_±_").split() for column in columns]  # an interval is one
    least = [max(map(cell_len, of), default=0) for of in words]
    most = [max(cell_len(line) for cell in column for line in cell.split("\n")) for column in columns]
    widths, spare = list(least), room - sum(least)
    for left, i in enumerate(sorted(range(len(widths)), key=lambda i: most[i] - least[i])):
        more = min(most[i] - least[i], max(spare, 0) // (len(widths) - left))
        widths[i], spare = least[i] + more, spare - more
    return widths


def _one_line(cell: str) -> str:
    return "; ".join(cell.replace("|", "\\|").splitlines())


def _html_cells(line: Sequence[str]) -> str:
    first, *rest = line
    return f'<th scope="row">{escape(first)}</th>' + "".join(f"<td>{_lines(cell)}</td>" for cell in rest)


def _lines(cell: str) -> str:
    return escape(cell).replace("\n", "<br>")


@dataclass(frozen=True)
class Interval:
    """Mean over test tasks and the half width of its 95 % interval; accuracies are fractions in 0..1.

    ``ci95`` is None where there is none: for a single task.
    """

    mean: float
    ci95: float | None


@dataclass(frozen=True)
class Row:
    """One evaluated run: what was measured, and under which protocol.

    An accuracy is None where it was not measured; regression has a ``loss`` instead. ``run`` names the
    run where several of one method are listed. ``measures`` is what the learner tells besides, fractions.
    ``start`` names what the training began with, if not at random. ``split`` is what was tested on, and
    ``images`` says how they differ from the protocol's; ``turns``: how many of a task the answers average.
    """

    method: str
    protocol: str
    ways: int
    shots: int
    tasks: int
    transductive: Interval | None = None
    inductive: Interval | None = None
    loss: Interval | None = None
    seed: int | None = None
    run: str = ""
    measures: Mapping[str, Interval] = field(default_factory=dict)
    start: str = ""
    split: str = "test"
    images: str = ""
    turns: int = 1

    @classmethod
    def from_result(cls, result: Result, run: str = "") -> Row:
        """The row of one ``result.json``."""
        accuracy = result.get("accuracy", {})
        return cls(
            method=result["method"],
            protocol=result["protocol"],
            ways=result["ways"],
            shots=result["shots"],
            tasks=result["tasks"],
            transductive=_interval(accuracy.get("transductive")),
            inductive=_interval(accuracy.get("inductive")),
            loss=None if accuracy else _interval(result.get("loss")),
            seed=result["seed"],
            run=run,
            measures={k: i for k, v in result.get("measures", {}).items() if (i := _interval(v)) is not None},
            start=str(start.get("method") or start.get("run")) if (start := result.get("start")) else "",
            split=result.get("split", "test"),
            images=result.get("images", ""),
            turns=result.get("turns", 1),
        )

    @property
    def published(self) -> tuple[Published, ...]:
        """What the literature prints for this method, protocol and size of task; nothing of validation."""
        if self.split == "validation":
            return ()
        return published(self.method, self.protocol, self.ways, self.shots)


def _interval(record: IntervalRecord | None) -> Interval | None:
    if record is None:
        return None
    mean = record["mean"]
    return Interval(math.nan if mean is None else mean, record["ci95"])


_HEADER = (
    "Method",
    "Protocol",
    "Task",
    "Transductive",
    "Inductive",
    "Loss",
    "Besides",
    "Published",
    "Gap",
    "Test tasks",
    "Seed",
    "Run",
)


def methods_table(rows: Iterable[Row]) -> Table:
    """One line per row, accuracies in per cent ± 95 % interval, beside the published number.

    The gap is measured minus published in per cent points, transductive against transductive and
    inductive against inductive. Regression shows its loss. Columns with nothing in them are left out.
    """
    return Table(_HEADER, tuple(_cells(row) for row in rows)).without_empty_columns()


def sources(rows: Iterable[Row]) -> list[str]:
    """Where the published numbers beside ``rows`` come from: one line each, none twice."""
    entries = (entry for row in rows for entry in row.published)
    return list(dict.fromkeys(_source(entry) for entry in entries))


def _source(entry: Published) -> str:
    note = f"; {entry.note}" if entry.note else ""
    return f"{entry.method}, {entry.protocol}, {entry.setting}: {entry.source}{note}."


def _cells(row: Row) -> tuple[str, ...]:
    shown = row.published
    turns = f"over {row.turns} turns" if row.turns > 1 else ""
    return (
        ", ".join(part for part in (row.method, row.start and f"from {row.start}", turns) if part),
        ", ".join(part for part in (row.protocol, row.split.replace("test", ""), row.images) if part),
        task_size(row.ways, row.shots),
        _measured(row.transductive),
        _measured(row.inductive),
        "" if row.loss is None else _loss(row.loss),
        "\n".join(f"{name} {_measured(value)}" for name, value in row.measures.items()),
        "\n".join(_printed(entry, named=len(shown) > 1) for entry in shown),
        "\n".join(_gap(row, entry) for entry in shown),
        str(row.tasks),
        "" if row.seed is None else str(row.seed),
        row.run,
    )


def task_size(ways: int, shots: int) -> str:
    """The size of a task in words; one way is regression.

    >>> task_size(5, 1), task_size(1, 10)
    ('5-way 1-shot', '10-shot')
    """
    return f"{shots}-shot" if ways == 1 else f"{ways}-way {shots}-shot"


def _loss(loss: Interval) -> str:
    parts = [loss.mean] if loss.ci95 is None else [loss.mean, loss.ci95]
    return " ± ".join(f"{part:.4f}" if abs(part) < 1e5 else f"{part:.3e}" for part in parts)


def _measured(accuracy: Interval | None) -> str:
    return "" if accuracy is None else percent(accuracy.mean, accuracy.ci95)


def _printed(entry: Published, named: bool) -> str:
    marks: list[str] = [entry.setting] if named or entry.setting == "inductive" else []
    marks += [] if entry.verified else ["unverified"]
    text = entry.text.replace("±", " ± ")
    return f"{text} ({', '.join(marks)})" if marks else text


def _gap(row: Row, entry: Published) -> str:
    measured = {"transductive": row.transductive, "inductive": row.inductive}.get(entry.setting)
    return "not comparable" if measured is None else points(measured.mean - entry.value / 100)
