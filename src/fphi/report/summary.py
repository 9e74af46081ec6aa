"""One line for each method: its accuracies at the four sizes of task that every paper prints.

Each method is shown under one protocol, that of most numbers of its own paper, and with the statistics
of that paper, inductive ones where it gives both or none. Of several trainings the one is shown whose
folder is called as the method; no accuracy decides.
"""

from collections.abc import Sequence

from fphi.report.published import Published, Statistics, published
from fphi.report.rows import ResultRow, task_size
from fphi.report.tables import Table

__all__ = ["SIZES", "summary_of"]

SIZES = ((5, 1), (5, 5), (20, 1), (20, 5))  # ways and shots
_LINES = 12  # of methods; a Markdown table has two more


def summary_of(rows: Sequence[ResultRow]) -> Table:
    """The methods with an accuracy at one of the four sizes, the published number in the same cell.

    Where there are more methods than lines, those with numbers at most sizes are shown, of these those with
    most published ones.

    A cell with a dagger differs from the paper in what its row says. A published number is left out where
    nothing in the cell can be subtracted from it.
    """
    shown = [row for row in rows if (row.ways, row.shots) in SIZES and _is_plain(row) and row.inductive]
    methods = sorted({row.method for row in shown})
    lines = [_line([row for row in shown if row.method == method]) for method in methods]
    header = ("Method", "Protocol", *(task_size(ways, shots) for ways, shots in SIZES))
    widest = sorted(lines, key=lambda line: (line.count(""), -" ".join(line).count("(")))[:_LINES]
    return Table(header, tuple(sorted(widest)))


def _is_plain(row: ResultRow) -> bool:
    return row.split == "test" and row.turns == 1


def _line(rows: Sequence[ResultRow]) -> tuple[str, ...]:
    """The line of one method."""
    protocols = sorted({row.protocol for row in rows}, key=lambda name: _rank(rows, name))
    chosen = [row for row in rows if row.protocol == protocols[0]]
    statistics = _statistics(chosen)
    shared = f", {statistics}" if statistics == "transductive" else ""
    cells = [_cell([row for row in chosen if (row.ways, row.shots) == size], statistics) for size in SIZES]
    return (chosen[0].method, chosen[0].protocol + shared, *cells)


def _rank(rows: Sequence[ResultRow], protocol: str) -> tuple[int, int, str]:
    """Protocols with most published numbers first, then those with most sizes of task."""
    here = [row for row in rows if row.protocol == protocol]
    sizes = {(row.ways, row.shots) for row in here}
    printed = {(row.ways, row.shots) for row in here if _accuracies(row)}
    return -len(printed), -len(sizes), protocol


def _accuracies(row: ResultRow) -> list[Published]:
    return [entry for entry in row.published if not entry.measure]


def _statistics(rows: Sequence[ResultRow]) -> Statistics:
    """Transductive where the paper's numbers, of whatever size of task, are so and these can be."""
    method, protocol = rows[0].method, rows[0].protocol
    printed = {entry.statistics for size in SIZES for entry in published(method, protocol, *size)}
    return (
        "transductive" if printed == {"transductive"} and any(r.transductive for r in rows) else "inductive"
    )


def _cell(rows: Sequence[ResultRow], statistics: Statistics) -> str:
    """Measured and, in brackets, published."""
    if not rows:
        return ""
    row = min(rows, key=lambda r: (r.run.split("/")[-1] != r.method, len(r.differs), r.run))
    value = row.measured(statistics)
    if value is None:
        return ""
    mark = "†" if row.differs else ""
    printed = [
        entry.text
        for entry in _accuracies(row)
        if entry.statistics == statistics and row.gap(entry) is not None
    ]
    return f"{100 * value.mean:.2f}{mark}" + (f" ({printed[0]})" if printed else "")
