"""``fphi compare RUN…``: several runs on the same test tasks."""

from pathlib import Path

from fphi.cli.arguments import add_files, files_named, require_no_folder
from fphi.experiment.comparison import compare
from fphi.experiment.parser import Parser, at_least
from fphi.report.compare import comparison_table
from fphi.report.rows import ResultRow, methods_table, sources
from fphi.report.runs import report_runs
from fphi.run.disk.files import write_text

__all__ = ["run"]


def run(arguments: list[str]) -> int:
    """Print the runs' table and, where test tasks are the same, paired differences from the first run.

    What is to be written comes first, so that an output that fails does not cost it.
    """
    o = _parser().read(arguments)
    at_least(1, test_tasks=o.test_tasks)
    require_no_folder(o.html)
    require_no_folder(o.markdown)
    compared = compare(o.runs, on=o.on, test_tasks=o.test_tasks, test=o.test, **files_named(o))
    rows = [ResultRow.from_record(run.record, name) for name, run in compared.runs.items()]
    tables = {"Accuracy on test tasks (%)": methods_table(rows)}
    if compared.pairs:
        tables[f"Differences ({o.on})"] = comparison_table(compared.pairs)
    if o.markdown is not None:
        parts = [f"**{title}**\n\n{table.markdown()}" for title, table in tables.items()]
        notes = "\n".join(f"- {source}" for source in sources(rows))
        write_text(o.markdown, "\n\n".join([*parts, notes]).rstrip() + "\n")
    if o.html is not None:
        report_runs(o.html, list(compared.runs.values()), on=o.on)
    for title, table in tables.items():
        table.show(title)
    return 0


def _parser() -> Parser:
    parser = Parser(
        "compare",
        "Compare runs, in pairs where they had the same test tasks; those without a result are evaluated.",
    )
    parser.add_argument(
        "runs",
        type=Path,
        nargs="+",
        help="directories of the runs; of those with the same test tasks the first is compared with",
    )
    option = parser.add_option
    option("--test-tasks", int, None, "test tasks for runs not evaluated yet; as many as the others, or 600")
    option("--test", str, None, "name of the test, as 5w1s, where a run has several")
    option("--on", str, "inductive", "inductive or transductive accuracy; of regression it is the loss")
    option("--html", Path, None, "write a report to this file too")
    option("--markdown", Path, None, "write the tables to this file too")
    add_files(parser)
    option("--tasks", str, None, "the runs' tasks, where they are in a file: FILE.py:NAME")
    return parser
