"""``fphi data``: what data is found, counts, checks."""

import os

from fphi.cli.options import Parser
from fphi.report.tables import Table
from fphi.tasks import describe

__all__ = ["run"]


def run(arguments: list[str]) -> int:
    """Print a table of the sources; the exit status is 2 if a named one cannot be used."""
    from rich.console import Console

    parser = Parser("data", "Show what data is found, its counts and checks.")
    parser.add_argument(
        "source", type=str, nargs="?", help="omniglot, hershey, sine or a path (default: all known)"
    )
    parser.add_argument("--data-root", type=str, default=None, help="folder that data sets are looked for in")
    o = parser.read(arguments)
    root = o.data_root or os.environ.get("FPHI_DATA")
    names = [o.source] if o.source else ["hershey", "omniglot", "sine"]
    rows = [row for name in names for row in describe(name, root)]
    columns = ("Data", "Where", "Classes", "Images", "Classes by split", "Check")
    body = tuple(
        (
            r.item,
            r.where,
            str(r.classes or ""),
            str(r.images or ""),
            ", ".join(f"{split} {count}" for split, count in r.splits.items()),
            f"{'ok' if r.ok else 'ERROR'} {r.note}".strip(),
        )
        for r in rows
    )
    Console().print(Table(columns, body).rich())
    return 2 if o.source and any(not r.ok for r in rows) else 0
