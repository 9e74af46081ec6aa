"""Read evaluated run directories and lay out the report about them."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from fphi.errors import FphiError
from fphi.report.compare import TaskScores, compare, comparison_table
from fphi.report.files import Result, read_result, read_text
from fphi.report.page import Block, Code, Notes, Picture, Section, write_report
from fphi.report.plots import Episode, accuracy_by_step, draw_episode, learning_curve
from fphi.report.tables import Row, Table, methods_table, sources, task_size

__all__ = ["Run", "read_log", "read_run", "report_runs", "report_sections"]


@dataclass(frozen=True)
class Run:
    """What a run directory says of itself; ``config`` is YAML text, ``scores`` are ``[tasks]`` each.

    ``log``, ``config`` and ``scores`` are empty where the files are missing.
    """

    name: str
    result: Result
    log: Sequence[Mapping[str, str]] = ()
    config: str = ""
    scores: Mapping[str, Tensor] | None = None


def read_run(path: Path) -> Run:
    """Read a run directory; ``FphiError`` if it was not evaluated (no ``result.json``)."""
    if not (path / "result.json").is_file():
        raise FphiError(f"{path} holds no result.json; evaluate the run first")
    log, config, scores = (path / n for n in ("log.csv", "config.yaml", "per_task.safetensors"))
    return Run(
        name=path.resolve().name,
        result=read_result(path / "result.json"),
        log=read_log(log),
        config=read_text(config) if config.is_file() else "",
        scores=_read_scores(scores) if scores.is_file() else None,
    )


def read_log(path: Path) -> list[dict[str, str]]:
    """The rows of a ``log.csv``; none if it is missing, and not one that a power cut left half written."""
    rows = csv.DictReader(read_text(path).splitlines()) if path.is_file() else ()
    return [row for row in rows if _is_whole(row)]


def _is_whole(row: Mapping[str | None, object]) -> bool:
    try:
        for cell in row.values():
            float(str(cell) or 0)
    except ValueError:
        return False
    return None not in row and str(row.get("step")).isdecimal()


def _read_scores(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise FphiError(f"{path} is damaged ({error}); evaluate the run again") from error


def report_runs(path: Path, runs: Sequence[Path], episodes: Mapping[str, Episode] | None = None) -> None:
    """Write the HTML report about evaluated run directories.

    ``episodes`` maps a caption (the method's name) to one task with that method's answers.

    Raises:
        FphiError: no run is given, one was not evaluated, or the page cannot be written.
    """
    if not runs:
        raise FphiError("a report needs at least one run directory; give one")
    read = [read_run(run) for run in runs]
    results = [run.result for run in read]
    methods = ", ".join(dict.fromkeys(r["method"] for r in results))
    tasks = ", ".join(dict.fromkeys(task_size(r["ways"], r["shots"]) for r in results))
    verb = "learns" if len(results) == 1 else "learn"
    intro = f"How well {methods} {verb} new tasks from few examples. Tasks: {tasks}."
    write_report(path, f"{methods}: {tasks}", intro, report_sections(read, episodes or {}))


def report_sections(runs: Sequence[Run], episodes: Mapping[str, Episode]) -> list[Section]:
    """Accuracy, learning curves, inner steps, one task, and how to repeat it; empty ones left out."""
    labels = _labels(runs)
    sections = [
        Section("Accuracy on test tasks", _accuracy(labels)),
        Section("Learning curves", _curves(labels)),
        Section("Accuracy by inner step", _steps(labels)),
        Section("One test task", [_drawing(name, episode) for name, episode in episodes.items()]),
        *(_repeat(name, run) for name, run in labels.items()),
    ]
    return [section for section in sections if section.blocks]


def _labels(runs: Sequence[Run]) -> dict[str, Run]:
    """Runs by method, or by directory name where a method has several; numbered if that repeats too."""
    methods = Counter(run.result["method"] for run in runs)
    labels: dict[str, Run] = {}
    for run in runs:
        method = run.result["method"]
        label = method if methods[method] == 1 else run.name
        labels[label if label not in labels else f"{label} ({len(labels) + 1})"] = run
    return labels


def _accuracy(labels: Mapping[str, Run]) -> list[Block]:
    named = len({run.result["method"] for run in labels.values()}) < len(labels)
    rows = [Row.from_result(run.result, run=label if named else "") for label, run in labels.items()]
    text = (
        "Per cent, ± half of the 95 % interval over test tasks. Inductive: each query image is answered "
        "alone with the support set; transductive: the statistics of the query batch may help. "
    )
    notes = [f"Published {line}" for line in sources(rows)]
    gap = ["Gap: measured minus published, in points."] if notes else []
    return [text + "".join(gap), methods_table(rows), *([Notes(notes)] if notes else []), *_paired(labels)]


_SAME_TASKS = ("protocol", "ways", "shots", "queries", "tasks", "seed")  # what fixes the test tasks


def _paired(labels: Mapping[str, Run]) -> list[Block]:
    """A paired comparison for every group of runs that were tested on the same tasks."""
    groups: dict[str, list[TaskScores]] = {}
    for name, run in labels.items():
        settings = {key: run.result.get(key) for key in _SAME_TASKS}
        accuracy = (run.scores or {}).get("transductive")
        if accuracy is not None and len(accuracy) > 1:  # regression has none
            groups.setdefault(str(settings), []).append(TaskScores(name, accuracy, settings))
    tables = [comparison_table(compare(group)) for group in groups.values() if len(group) > 1]
    text = "The same test tasks, subtracted task by task (transductive; clear: 0 lies outside the interval):"
    return [text, *tables] if tables else []


def _curves(labels: Mapping[str, Run]) -> list[Block]:
    logs = {name: run.log for name, run in labels.items() if run.log}
    if not logs:
        return []
    alt = f"Training loss and validation results over meta-steps of {', '.join(logs)}."
    caption = "Above, the loss on training tasks (faint: single meta-steps); below, validation tasks."
    return [Picture(learning_curve(logs), alt, caption)]


def _steps(labels: Mapping[str, Run]) -> list[Block]:
    steps = {name: run.result.get("by_step", []) for name, run in labels.items()}
    curves = {name: records for name, records in steps.items() if records and "accuracy" in records[0]}
    if not curves:
        return []
    ways = {run.result["ways"] for run in labels.values()}
    chance = 1 / ways.pop() if len(ways) == 1 else None
    ends = (
        f"{name} from {100 * s[0]['accuracy']:.1f} to {100 * s[-1]['accuracy']:.1f}"
        for name, s in curves.items()
    )
    alt = f"Query accuracy in per cent from the first to the last inner step: {'; '.join(ends)}."
    return [
        Picture(accuracy_by_step(curves, chance), alt, "Step 0 is the learned start, before any adaptation.")
    ]


def _drawing(name: str, episode: Episode) -> Picture:
    return Picture(draw_episode(episode), f"{name}: {episode.summary}.", f"{name}: {episode.summary}.")


def _repeat(name: str, run: Run) -> Section:
    command = run.result.get("command", "")
    versions = Table(("Package", "Version"), tuple(run.result.get("versions", {}).items()))
    budget = Table(("Budget", ""), tuple((k, str(v)) for k, v in run.result.get("budget", {}).items()))
    blocks: list[Block] = []
    blocks += ["The command:", Code(command)] if command else []
    blocks += ["The configuration:", Code(run.config.strip())] if run.config.strip() else []
    blocks += ["What the training took:", budget] if budget.body else []
    blocks += ["The versions:", versions] if versions.body else []
    return Section(f"To repeat {name}", blocks)
