"""Write the table of ``results/*/result.json`` into the README, so that no number is typed.

``python -m fphi.report.results README.md results`` rewrites the section between the markers;
with ``--check`` it changes nothing and exits with 1 if the section is out of date.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fphi.errors import FphiError
from fphi.report.files import is_of_a_search, read_result, read_text, write_text
from fphi.report.tables import Row, methods_table, sources

__all__ = ["BEGIN", "END", "main", "read_rows", "replace_section", "results_section"]

BEGIN = "<!-- results:begin -->"
END = "<!-- results:end -->"


def read_rows(folder: Path) -> list[Row]:
    """One row per ``folder/*/result.json`` of tasks, sorted by protocol, size of task, method and seed."""
    paths = [path for path in folder.glob("*/result.json") if not is_of_a_search(path)]
    rows = [Row.from_result(read_result(path), run=path.parent.name) for path in paths]
    return sorted(rows, key=lambda r: (r.protocol, r.ways, r.shots, r.method, r.seed or 0, r.run))


def results_section(rows: Sequence[Row], link: str = "results") -> str:
    """The Markdown between the markers; each run links to its ``result.json`` below ``link``."""
    if not rows:
        return "No results yet."
    linked = [_with_link(row, link) for row in rows]
    text = (
        "Accuracy on test tasks in per cent, ± 95 % interval over tasks. Gap: measured minus published, "
        "in points. Each run's file holds its command, budget and versions. *From* a method: begun with "
        "the parameters that it had learned."
    )
    notes = [f"- {source}" for source in sources(rows)]
    published = ["Published numbers:", "\n".join(notes)] if notes else []
    return "\n\n".join([text, methods_table(linked).markdown(), *published])


def _with_link(row: Row, link: str) -> Row:
    return replace(row, run=f"[{row.run}]({link}/{row.run}/result.json)")


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 done or up to date, 1 out of date (``--check``), 2 an error of the user."""
    parser = argparse.ArgumentParser(prog="python -m fphi.report.results", description=__doc__)
    parser.add_argument("readme", type=Path, help="the Markdown file with the two markers")
    parser.add_argument("results", type=Path, help="the folder of runs, each with a result.json")
    parser.add_argument("--methods", nargs="+", default=None, help="only the rows of these methods")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if out of date")
    options = parser.parse_args(arguments)
    try:
        return _update(options.readme, options.results, options.methods, options.check)
    except FphiError as error:
        print(f"fphi: error: {error}", file=sys.stderr)
        return 2


def _update(readme: Path, folder: Path, methods: Sequence[str] | None, check: bool) -> int:
    if not folder.is_dir():
        raise FphiError(f"{folder} is not a folder; give the folder that holds the results")
    old = read_text(readme)
    link = Path(os.path.relpath(folder, readme.parent)).as_posix()
    rows = [row for row in read_rows(folder) if methods is None or row.method in methods]
    new = replace_section(old, results_section(rows, link))
    if new == old:
        return 0
    if check:
        chosen = f" --methods {' '.join(methods)}" if methods else ""
        print(f"{readme} is out of date: run python -m fphi.report.results {readme} {folder}{chosen}")
        return 1
    write_text(readme, new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
