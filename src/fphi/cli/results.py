"""``fphi results``: the tables of kept results, written into the documents, or as CSV."""

from pathlib import Path

from fphi.errors import FphiError
from fphi.experiment.parser import Parser
from fphi.report.results import results_csv, write_results

__all__ = ["run"]


def run(arguments: list[str]) -> int:
    """Write the generated tables, or with ``--check`` say which are out of date, or print CSV."""
    parser = Parser("results", "Write the tables of the README and of docs/ from a folder of evaluated runs.")
    option = parser.add_option
    option("--results", Path, Path("results"), "the folder, one directory a run")
    option("--readme", Path, Path("README.md"), "the document with the small table; docs/ is beside it")
    parser.add_argument("--csv", action="store_true", help="print all rows as CSV, and write nothing")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if one is out of date")
    o = parser.read(arguments)
    if not o.results.is_dir():
        raise FphiError(f"--results {o.results} is not a folder; give the folder that holds evaluated runs")
    if o.csv:
        print(results_csv(o.results), end="")
        return 0
    stale = write_results(o.readme, o.results, check=o.check)
    for path in stale:
        print(f"{path} is out of date: run make results" if o.check else f"written: {path}")
    return int(o.check and bool(stale))
