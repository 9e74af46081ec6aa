"""``fphi methods``: the table of methods."""

from pathlib import Path

from fphi.cli.options import Parser
from fphi.errors import FphiError
from fphi.methods import METHODS, SEARCHES, Method, SearchMethod
from fphi.methods.searching import SupernetMethod
from fphi.report.results import read_rows
from fphi.report.tables import Row, Table, percent

__all__ = ["run"]

_RESULTS = Path("results")
_SEARCH = "architecture search: fphi search"


def run(arguments: list[str]) -> int:
    """Print each method with its paper, and what was measured with it where results are at hand."""
    parser = Parser("methods", "List the methods with their papers and measured accuracies.")
    parser.add_argument("--results", type=Path, default=_RESULTS, help="folder of evaluated runs")
    o = parser.read(arguments)
    if not o.results.is_dir() and o.results != _RESULTS:
        raise FphiError(f"--results {o.results} is not a folder; give the folder that holds evaluated runs")
    rows = read_rows(o.results) if o.results.is_dir() else []
    body = [(name, _paper(METHODS[name]), _status(name, rows)) for name in sorted(METHODS)]
    searches = [(name, _paper(SEARCHES[name]), _SEARCH) for name in sorted(SEARCHES)]
    Table(("Method", "Paper", "Status"), (*body, *searches)).show()
    return 0


def _paper(cls: type[Method] | type[SearchMethod] | type[SupernetMethod]) -> str:
    return f"{cls.paper} (arXiv {cls.arxiv})" if cls.arxiv else cls.paper


def _status(name: str, rows: list[Row]) -> str:
    """Measured accuracies, best known first; a method without any is implemented and tested only."""
    measured = [
        f"{r.protocol} {r.ways}-way {r.shots}-shot: {percent(value.mean, value.ci95)}"
        for r in rows
        if r.method == name and (value := r.transductive or r.inductive) is not None
    ]
    return "measured: " + "; ".join(measured) if measured else "tested; no result in this folder"
