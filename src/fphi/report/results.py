"""The tables of a folder of tested runs, and the documents that hold them, so that no number is typed."""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from fphi.errors import FphiError
from fphi.report.files import TESTS, TestRecord, is_current, read_record, read_tests, read_text
from fphi.report.rows import ResultRow, methods_table, sources
from fphi.report.searches import draw_searches, read_searches, searches_section
from fphi.report.summary import summary_of
from fphi.report.tables import Table, as_markdown
from fphi.run.disk.checkpoint import BEST
from fphi.run.disk.files import replace_file, write_text
from fphi.run.show.say import say

__all__ = [
    "BEGIN",
    "END",
    "read_rows",
    "replace_section",
    "results_csv",
    "results_page",
    "summary_section",
    "summary_table",
    "write_results",
]

BEGIN = "<!-- results:begin -->"
END = "<!-- results:end -->"


def read_rows(folder: Path) -> list[ResultRow]:
    """One row for each test of each run below ``folder``, sorted by protocol, size of task and method.

    A row's ``run`` is the path of the run below ``folder``. Tests of parameters that it had before have none.
    """
    rows = [
        ResultRow.from_record(record, path.parent.parent.relative_to(folder).as_posix())
        for path, record in _tests(folder)
        if is_current(path.parent.parent, record)
    ]
    return sorted(rows, key=lambda r: (r.protocol, r.ways or 0, r.shots, r.method, r.run, r.split, r.turns))


def _tests(folder: Path) -> list[tuple[Path, TestRecord]]:
    return [(path, read_record(path)) for path in folder.rglob("*.json") if path.parent.name == TESTS]


def _say_what_is_left_out(folder: Path) -> None:
    for path, record in _tests(folder):
        if not is_current(path.parent.parent, record):
            say(f"{path} is left out: it measured other parameters than its run has now; evaluate that again")


_LEGEND = (
    "Accuracy on test tasks in per cent, ± 95 % interval over tasks. In brackets behind a published number: "
    "measured minus published, in points, where the two can be compared. *From* a method: begun with "
    "parameters that it had learned. *Differs*: from the method's paper."
)


def _table(rows: Sequence[ResultRow]) -> str:
    notes = [f"- {source}" for source in sources(rows)]
    published = ["Published numbers:", "\n".join(notes)] if notes else []
    return "\n\n".join([methods_table(rows).markdown({row.run for row in rows}), *published])


def summary_table(folder: Path) -> str:
    """Methods by sizes of task as Markdown, at most 14 lines; see `fphi.report.summary`."""
    return summary_of(read_rows(folder)).markdown()


def summary_section(folder: Path) -> str:
    """`summary_table` with what its marks mean."""
    text = (
        "Accuracy on test tasks in per cent, inductive if the protocol does not say otherwise; in brackets "
        "the published number, where protocol, split, selection and supervision are the same. †: trained "
        "otherwise than in the paper; [results/README.md](results/README.md) says how."
    )
    return f"{summary_table(folder)}\n\n{text}"


def results_page(folder: Path) -> str:
    """All rows with all details as a page of Markdown, to stand in ``folder``."""
    rows = read_rows(folder)
    parts = ["# Results", _INTRODUCTION, _LEGEND]
    for protocol in dict.fromkeys(row.protocol for row in rows):
        parts += [f"## {as_markdown(protocol)}", _table([row for row in rows if row.protocol == protocol])]
    return "\n\n".join([*parts, "## What the trainings took", _trainings(folder)]) + "\n"


_INTRODUCTION = """\
One folder is one training: `config.yaml` repeats it, `best.safetensors` is what it learned, `log.csv` how it
went, and `tests/` holds what it was tested on, with the values of each task. Where there are no weights the
number is of an earlier training, which nobody can check yet: see [NOTES.md](NOTES.md). From the folder of the
project:

    fphi evaluate results/P-PROTO/prototypical --ways 20 --shots 5    # tests the kept parameters again
    fphi train --config results/P-PROTO/prototypical/config.yaml --out runs/again    # trains again

This page is written by `fphi results`. Architecture searches: [searches](searches), and their tables in
[docs/architecture.md](../docs/architecture.md)."""


def _trainings(folder: Path) -> str:
    """What each training took, and which of its tests are kept."""
    body = []
    for run in sorted(path.parent for path in folder.glob("*/*/config.yaml")):
        records = read_tests(run)
        budgets = [record.get("budget", {}) for record in records.values()]
        budget: Mapping[str, object] = budgets[0] if budgets else {}
        name = run.relative_to(folder).as_posix()
        steps, seconds = (str(budget.get(key, "")) for key in ("meta-steps", "seconds"))
        weights = f"{(run / BEST).stat().st_size // 1000} kB" if (run / BEST).is_file() else "none"
        body.append((name, steps, seconds, weights, ", ".join(records)))
    table = Table(("Training", "Meta-steps", "Seconds", "Weights", "Tests"), tuple(body))
    return table.markdown({name for name, *_ in body})


def results_csv(folder: Path) -> str:
    """All rows as CSV: accuracies as fractions, with the half widths of their 95 % intervals."""
    _say_what_is_left_out(folder)
    rows = read_rows(folder)
    measures = list(dict.fromkeys(name for row in rows for name in row.measures))
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*_PLAIN, *(f"{name}{end}" for name in (*_VALUES, *measures) for end in ("", " ± 95 %"))])
    for row in rows:
        values = [getattr(row, name) for name in _VALUES] + [row.measures.get(name) for name in measures]
        plain = [getattr(row, name) for name in _PLAIN[:-1]] + ["; ".join(row.differs)]
        pairs = [("", "") if value is None else (value.mean, value.ci95) for value in values]
        writer.writerow([*plain, *(number for pair in pairs for number in pair)])
    return file.getvalue()


_PLAIN = (
    "run", "method", "protocol", "split", "images", "ways", "shots", "tasks", "seed", "turns", "test_steps",
    "start", "frozen", "differs",
)  # fmt: skip
_VALUES = ("transductive", "inductive", "loss")


def write_results(readme: Path, folder: Path, check: bool = False) -> list[Path]:
    """Write the tables of ``folder`` into its README, the project's, and docs/architecture.md beside it.

    Args:
        readme: the project's README; docs/ lies beside it.
        folder: the runs, with the searches in its ``searches/``.
        check: change nothing.

    Returns:
        The documents that were out of date.

    Raises:
        FphiError: a document or a marker in it is missing, or a file of a run is damaged.
    """
    if not folder.is_dir():
        raise FphiError(f"{folder} is not a folder; give the folder that holds the results")
    _say_what_is_left_out(folder)
    docs = readme.parent / "docs"
    searches = read_searches(folder / "searches")
    texts: dict[Path, Callable[[], str]] = {
        readme: lambda: replace_section(read_text(readme), summary_section(folder)),
        folder / "README.md": lambda: results_page(folder),
        docs / "architecture.md": lambda: replace_section(
            read_text(docs / "architecture.md"), searches_section(searches)
        ),
    }
    stale = list(_write_stale(texts, check))
    if not check:
        replace_file(docs / "images" / "architecture" / "searches.png", draw_searches(searches))
    return stale


def _write_stale(texts: Mapping[Path, Callable[[], str]], check: bool) -> Iterable[Path]:
    for path, text in texts.items():
        new = text()
        if not path.is_file() or read_text(path) != new:
            if not check:
                write_text(path, new)
            yield path


def replace_section(text: str, section: str) -> str:
    """``text`` with ``section`` between the markers; the rest, markers included, is unchanged.

    Raises:
        FphiError: a marker is missing, stands twice, or the two stand in the wrong order.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise FphiError(f"the text needs the lines {BEGIN} and {END} once each, in this order; add them")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n{section}\n{END}{after}"
