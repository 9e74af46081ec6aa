"""``fphi data``: what data is found, counts, checks."""

import os

from fphi.errors import FphiError
from fphi.experiment.parser import Parser
from fphi.report.tables import Table
from fphi.tasks import DataRow, describe
from fphi.tasks.sources import NAMED

__all__ = ["run"]

_COLUMNS = ("Data", "Where", "Classes", "Images", "Classes by split", "Check")


def run(arguments: list[str]) -> int:
    """Print a table of the sources.

    Raises:
        FphiError: a source that was named cannot be used.
    """
    parser = Parser("data", "Show what data is found, its counts and checks.")
    parser.add_argument(
        "source",
        type=str,
        nargs="?",
        help="omniglot, hershey, fonts, sine, quadratics, digits, mnist, tables, or a path (default: all)",
    )
    parser.add_option("--data-root", str, None, "folder that data sets are looked for in")
    o = parser.read(arguments)
    root = o.data_root or os.environ.get("FPHI_DATA")
    names = [o.source] if o.source else list(NAMED)
    rows = [row for name in names for row in describe(name, root)]
    Table(_COLUMNS, tuple(_cells(row) for row in rows)).show()
    wrong = next((row for row in rows if o.source and not row.ok), None)
    if wrong is not None:
        where = f" ({wrong.where})" if wrong.where not in wrong.note else ""
        raise FphiError(f"{wrong.item} cannot be used: {wrong.note}{where}")
    return 0


def _cells(row: DataRow) -> tuple[str, ...]:
    return (
        row.item,
        row.where,
        str(row.classes or ""),
        str(row.images or ""),
        ", ".join(f"{split} {count}" for split, count in row.splits.items()),
        f"{'ok' if row.ok else 'ERROR'} {row.note}".strip(),
    )
