"""Tables of text, and their rendering as Markdown, HTML and on the terminal."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import quote

from fphi.errors import printable

if TYPE_CHECKING:
    from rich.table import Table as RichTable

__all__ = ["Table", "as_markdown", "percent", "points"]


def percent(mean: float, ci95: float | None = None) -> str:
    """Fractions as per cent with two decimals; an infinite interval is not shown.

    >>> percent(0.98716, 0.0031)
    '98.72 ± 0.31'
    """
    interval = "" if ci95 is None or math.isinf(ci95) else f" ± {100 * ci95:.2f}"
    return f"{100 * mean:.2f}{interval}"


def points(difference: float, ci95: float | None = None) -> str:
    """A signed difference of fractions in per cent points; a true minus sign, and no ``−0.00``.

    >>> points(-0.004), points(0.0123, 0.005), points(-1e-9)
    ('−0.40', '+1.23 ± 0.50', '0.00')
    """
    text = f"{100 * difference:+.2f}"
    text = "0.00" if float(text) == 0 else text.replace("-", "−")
    return text if ci95 is None else f"{text} ± {100 * ci95:.2f}"


_MARKUP = re.compile(r"[\\`*_\[\]|$~]|(?<=www)\.|:(?=//)")  # of Markdown: what a backslash takes for text


def as_markdown(text: str) -> str:
    r"""What a text is in Markdown: no emphasis, link, address, column, mathematics or HTML, and one line.

    >>> print(as_markdown("[a](https://b.c) *$x$*"))
    \[a\](https\://b.c) \*\$x\$\*
    """
    plain = printable(text).replace("&", "&amp;").replace("<", "&lt;")
    return _MARKUP.sub(lambda sign: f"\\{sign[0]}", plain)


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

    def markdown(self, links: Collection[str] = ()) -> str:
        r"""A pipe table; what would be more than text in a cell is escaped.

        Args:
            links: lines of cells that are paths, and become links to these.

        >>> print(Table(("a", "b"), (("1|2", "c/d"),)).markdown(links=["c/d"]))
        | a | b |
        | --- | --- |
        | 1\|2 | [c/d](c/d) |
        """

        def one_line(cell: str) -> str:
            return "; ".join(_link(p) if p in links else as_markdown(p) for p in cell.splitlines())

        head, *body = (f"| {' | '.join(map(one_line, line))} |" for line in (self.header, *self.body))
        return "\n".join([head, f"| {' | '.join(['---'] * len(self.header))} |", *body])

    def html(self) -> str:
        r"""A ``<table>`` element with escaped cells; the first cell of a line heads its row.

        >>> Table(("a", "b"), (("<", "1\n2"),)).html().splitlines()[3]
        '<tr><th scope="row">&lt;</th><td>1<br>2</td></tr>'
        """
        head = "".join(f'<th scope="col">{_lines(cell)}</th>' for cell in self.header)
        body = "\n".join(f"<tr>{_html_cells(line)}</tr>" for line in self.body)
        return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"

    def rich(self, title: str | None = None, width: int = 80) -> RichTable:
        """A table for a terminal of this width.

        Where its words need more, each line becomes a list of names and values. Words and figures are
        not cut, except a word that has no room even then, such as a long path. Brackets in cells are
        text, not markup.
        """
        from rich.table import Table as RichTable
        from rich.text import Text

        header, *body = ([_printable_lines(cell) for cell in line] for line in (self.header, *self.body))
        widths = _column_widths(list(zip(header, *body, strict=True)), width - 3 * len(header) - 1)
        if sum(widths) + 3 * len(widths) + 1 > width:
            return _lists(header, body, title, width)
        lines = any("\n" in cell for line in body for cell in line)
        table = RichTable(title=title, show_lines=lines)
        for cell, wide in zip(header, widths, strict=True):
            table.add_column(Text(cell), width=wide)
        for line in body:
            table.add_row(*map(Text, line))
        return table

    def show(self, title: str | None = None) -> None:
        """Print it for the terminal."""
        from rich.console import Console

        console = Console()
        table = self.rich(title, console.width)
        whole = sum(column.width or 0 for column in table.columns) + 3 * len(table.columns) + 1
        Console(width=max(console.width, whole)).print(table)


_WORD = 20  # characters of a value that stay together on however narrow a terminal


def _lists(header: Sequence[str], body: Sequence[Sequence[str]], title: str | None, width: int) -> RichTable:
    """A list of names and values for each line, empty cells left out."""
    from rich.table import Table as RichTable
    from rich.text import Text

    names, values = _column_widths([header, [cell for line in body for cell in line]], width - 7)
    table = RichTable(title=title, show_header=False)
    table.add_column(width=names)
    table.add_column(width=min(values, max(width - 7 - names, _WORD)), overflow="fold")
    for line in body:
        for name, cell in zip(header, line, strict=True):
            if cell:
                table.add_row(Text(name), Text(cell))
        table.add_section()
    return table


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


def _link(path: str) -> str:
    return f"[{as_markdown(path)}]({quote(path)})"


def _html_cells(line: Sequence[str]) -> str:
    first, *rest = line
    return f'<th scope="row">{_lines(first)}</th>' + "".join(f"<td>{_lines(cell)}</td>" for cell in rest)


def _lines(cell: str) -> str:
    return escape(_printable_lines(cell)).replace("\n", "<br>")
