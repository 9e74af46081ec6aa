"""``fphi compare RUN…``: several runs on the same test tasks."""

from pathlib import Path

from fphi.cli.evaluate import evaluate_run
from fphi.cli.options import Parser
from fphi.errors import FphiError
from fphi.report.compare import TaskScores, compare, comparison_table
from fphi.report.runs import Run, read_run, report_runs
from fphi.report.tables import Row, methods_table

__all__ = ["run"]

_SAME_TASKS = ("data", "protocol", "ways", "shots", "queries", "tasks", "seed")


def run(arguments: list[str]) -> int:
    """Print the runs' table and their paired differences from the first one."""
    from rich.console import Console

    parser = Parser(
        "compare", "Compare runs on the same test tasks; runs without a result are evaluated first."
    )
    parser.add_argument(
        "runs", type=Path, nargs="+", help="directories of the runs; the first is compared with"
    )
    parser.add_argument("--tasks", type=int, default=600, help="test tasks for runs not evaluated yet")
    parser.add_argument("--on", type=str, default="transductive", help="transductive or inductive accuracy")
    parser.add_argument("--html", type=Path, default=None, help="write a report to this file too")
    o = parser.read(arguments)
    if o.on not in ("transductive", "inductive"):
        raise FphiError(f"--on is {o.on!r}: choose transductive or inductive")
    runs = [_evaluated(path, o.tasks) for path in o.runs]
    console = Console()
    console.print(methods_table([Row.from_result(r.result, r.name) for r in runs]).rich())
    if len(runs) > 1:
        console.print(
            comparison_table(compare([_scores(r, o.on) for r in runs])).rich(f"Differences ({o.on})")
        )
    if o.html is not None:
        report_runs(o.html, o.runs)
    return 0


def _evaluated(path: Path, count: int) -> Run:
    if not (path / "result.json").is_file():
        evaluate_run(path, count)
    return read_run(path)


def _scores(run: Run, kind: str) -> TaskScores:
    if run.scores is None or kind not in run.scores or not len(run.scores[kind]):
        raise FphiError(f"{run.name} has no accuracies per task: evaluate it again with fphi evaluate")
    return TaskScores(run.name, run.scores[kind], {k: run.result.get(k) for k in _SAME_TASKS})
