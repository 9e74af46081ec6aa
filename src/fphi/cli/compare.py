"""``fphi compare RUN…``: several runs on the same test tasks."""

from collections import Counter
from pathlib import Path

from fphi.cli.evaluate import evaluate_run
from fphi.cli.options import Parser, at_least, require_no_folder
from fphi.errors import FphiError
from fphi.report.compare import Comparison, TaskScores, compare, comparison_table
from fphi.report.files import read_result, write_text
from fphi.report.runs import Run, read_run, report_runs
from fphi.report.tables import Row, methods_table, sources

__all__ = ["run"]

_SAME_TASKS = ("data", "protocol", "ways", "shots", "queries", "tasks", "seed")


def run(arguments: list[str]) -> int:
    """Print the runs' table and, where test tasks are the same, paired differences from the first run."""
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
    parser.add_argument(
        "--tasks",
        type=int,
        default=None,
        help="test tasks for runs not evaluated yet; as many as the others if not given, else 600",
    )
    parser.add_argument("--on", type=str, default="transductive", help="transductive or inductive accuracy")
    parser.add_argument("--html", type=Path, default=None, help="write a report to this file too")
    parser.add_argument("--markdown", type=Path, default=None, help="write the tables to this file too")
    o = parser.read(arguments)
    at_least(1, tasks=o.tasks)
    require_no_folder(o.html)
    require_no_folder(o.markdown)
    if o.on not in ("transductive", "inductive"):
        raise FphiError(f"--on is {o.on!r}: choose transductive or inductive")
    _evaluate_missing(o.runs, o.tasks)
    runs = dict(zip(_names(o.runs), [read_run(path) for path in o.runs], strict=True))
    rows = [Row.from_result(r.result, name) for name, r in runs.items()]
    tables = {"Accuracy on test tasks (%)": methods_table(rows)}
    if len(runs) > 1:
        differences = _paired([_scores(name, r, o.on) for name, r in runs.items()])
        tables[f"Differences ({o.on})"] = comparison_table(differences)
    for title, table in tables.items():
        table.show(title)
    if o.markdown is not None:
        parts = [f"**{title}**\n\n{table.markdown()}" for title, table in tables.items()]
        notes = "\n".join(f"- {source}" for source in sources(rows))
        write_text(o.markdown, "\n\n".join([*parts, notes]).rstrip() + "\n")
    if o.html is not None:
        report_runs(o.html, o.runs)
    return 0


def _evaluate_missing(paths: list[Path], count: int | None) -> None:
    """Evaluate what has no result yet, on the tasks of the first that has one."""
    done = [path for path in paths if (path / "result.json").is_file()]
    like = read_result(done[0] / "result.json") if done else None
    for path in paths:
        if path not in done:
            evaluate_run(path, count or (like["tasks"] if like else 600), like["seed"] if like else 0)


def _paired(scores: list[TaskScores]) -> list[Comparison]:
    """Differences among those that were tested on the same tasks, from the first of them.

    Raises:
        FphiError: no two were; it says in what the first two differ.
    """
    groups: dict[tuple[object, ...], list[TaskScores]] = {}
    for one in scores:
        groups.setdefault((len(one.accuracy), *one.settings.values()), []).append(one)
    same = [group for group in groups.values() if len(group) > 1]
    return [pair for group in same or [scores] for pair in compare(group)]


def _names(paths: list[Path]) -> list[str]:
    """Folders by their own names; by their paths, numbered, where these are not distinct."""
    own = [path.resolve().name for path in paths]
    names = own if len(set(own)) == len(own) else [str(path) for path in paths]
    repeated = Counter(names)
    return [name if repeated[name] == 1 else f"{name} ({i})" for i, name in enumerate(names, start=1)]


def _scores(name: str, run: Run, kind: str) -> TaskScores:
    if "accuracy" not in run.result:
        raise FphiError(f"{name} has a loss and no accuracy: only classification can be compared")
    scores = (run.scores or {}).get(kind)
    if scores is None or len(scores) != run.result["tasks"]:
        raise FphiError(f"{name} lacks the accuracies per task: evaluate it again with fphi evaluate")
    return TaskScores(name, scores, {k: run.result.get(k) for k in _SAME_TASKS})
