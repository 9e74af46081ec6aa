"""Read evaluated run directories and lay out the report about them."""

import csv
import math
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from torch import Tensor

from fphi.errors import FphiError
from fphi.report.compare import TaskScores, compare, comparison_table, of_same_tasks
from fphi.report.files import TestRecord, read_scores, read_tests, read_text, test_name
from fphi.report.page import Block, Code, Notes, Picture, Section, write_report
from fphi.report.plots import Episode, accuracy_by_step, draw_episode, learning_curve
from fphi.report.rows import ResultRow, methods_table, sources, task_size
from fphi.report.tables import Table
from fphi.tasks import GIVEN

__all__ = ["EvaluatedRun", "own_test", "read_log", "read_run", "report_runs", "report_sections"]

_SAME_TASKS = ("data", "protocol", "split", "ways", "shots", "queries", "tasks", "seed")  # fixes test tasks


@dataclass(frozen=True)
class EvaluatedRun:
    """What a run's folder says of itself and of one of its tests.

    Attributes:
        name: of the folder.
        record: the test.
        log: rows of ``log.csv``; empty without one.
        config: YAML text; empty without any.
        scores: values per task by name, ``[tasks]`` each; empty where they were not kept.
    """

    name: str
    record: TestRecord
    log: Sequence[Mapping[str, str]] = ()
    config: str = ""
    scores: Mapping[str, Tensor] = field(default_factory=dict)

    def task_scores(self, on: str = "inductive", name: str | None = None) -> TaskScores:
        """The values per task, to compare with another run's.

        Args:
            on: "transductive" or "inductive" accuracy; where a run has but the inductive one it stands for
                both. Regression has its loss, whatever this says.
            name: to call it by; the folder's if None.

        Raises:
            FphiError: the values per task were not kept, or are not of this test.
        """
        accuracies = "accuracy" in self.record
        values = self.scores.get(on, self.scores.get("inductive")) if accuracies else self.scores.get("loss")
        if values is None or values.shape != (self.record["tasks"],):
            raise FphiError(f"{self.name} lacks the values per task: evaluate it again with fphi evaluate")
        settings = {key: self.record.get(key) for key in _SAME_TASKS}
        settings |= {"classes": self.record["classes"]} if "classes" in self.record else {}
        return TaskScores(name or self.name, values, settings, "accuracy" if accuracies else "loss")


def read_run(path: Path, test: str | None = None) -> EvaluatedRun:
    """Read a run's folder and one of its tests.

    Args:
        path: the folder.
        test: the name of the test; None: that of the size of task that the run was trained for, or the
            first by name.

    Raises:
        FphiError: the run was not tested with the parameters that it has, or has no such test.
    """
    tests = read_tests(path)
    if not tests:
        raise FphiError(f"{path} holds no tests of the parameters that it has; evaluate the run first")
    config = read_text(path / "config.yaml") if (path / "config.yaml").is_file() else ""
    name = test or own_test(path, tests) or next(iter(tests))
    if name not in tests:
        raise FphiError(f"{path} has no test {name}, but {', '.join(tests)}; choose one of these")
    return EvaluatedRun(
        name=path.resolve().name,
        record=tests[name],
        log=read_log(path / "log.csv"),
        config=config,
        scores=_of_this_test(tests[name], read_scores(path, name)),
    )


def _of_this_test(record: TestRecord, scores: dict[str, Tensor]) -> dict[str, Tensor]:
    """The values per task if their means are the record's; a kill may leave a record and other values."""
    told = {**record.get("accuracy", {}), **record.get("measures", {})}
    told |= {"loss": record["loss"]} if "loss" in record else {}
    means = {name: told[name]["mean"] for name in scores if name in told}
    same = all(
        mean is None or math.isclose(mean, float(scores[name].double().mean()), rel_tol=1e-6, abs_tol=1e-9)
        for name, mean in means.items()
    )
    return scores if same else {}


def own_test(path: Path, tests: Collection[str]) -> str | None:
    """Which of these tests is on tasks as the run's configuration has them; None: none is.

    Tasks that say themselves how large they are, given in Python or in a file, are tested so where nothing
    else is asked for, and so is whatever a folder without a configuration holds: of these it is the first.
    """
    config = path / "config.yaml"
    try:
        options = yaml.safe_load(read_text(config)) if config.is_file() else None
    except yaml.YAMLError:
        options = None  # whoever reads the configuration will say what is wrong
    if not isinstance(options, dict) or not isinstance(shots := options.get("shots"), int):
        return next(iter(tests), None)
    ways, tasks = options.get("ways"), str(options.get("tasks"))
    own = (test_name(ways if isinstance(ways, int) else None, shots), test_name(None, shots))
    plain = [name for name in tests if "-" not in name] if tasks == GIVEN or ".py:" in tasks else []
    return next((name for name in (*own, *plain) if name in tests), None)


def read_log(path: Path) -> list[dict[str, str]]:
    """The rows of a ``log.csv``; none if it is missing, and not one that a power cut left half written."""
    try:
        rows = list(csv.DictReader(read_text(path).splitlines())) if path.is_file() else []
    except csv.Error as error:
        raise FphiError(f"{path} is damaged ({error}); delete it, or restore it") from error
    return [row for row in rows if _is_whole(row)]


def _is_whole(row: Mapping[str | None, object]) -> bool:
    try:
        for cell in row.values():
            float(str(cell) or 0)
    except ValueError:
        return False
    return None not in row and re.fullmatch(r"[0-9]{1,18}", str(row.get("step"))) is not None


def report_runs(
    path: Path,
    runs: Sequence[EvaluatedRun],
    episodes: Mapping[str, Episode] | None = None,
    on: str = "inductive",
) -> None:
    """Write the HTML report about tested runs.

    Args:
        path: of the page.
        runs: with their tests.
        episodes: one task with a method's answers, by a caption (the method's name).
        on: "inductive" or "transductive" accuracy, whose differences are shown; in regression it is the loss.

    Raises:
        FphiError: no run is given, or the page cannot be written.
    """
    if not runs:
        raise FphiError("a report needs at least one run; give one")
    records = [run.record for run in runs]
    methods = ", ".join(dict.fromkeys(r["method"] for r in records))
    tasks = ", ".join(dict.fromkeys(task_size(r["ways"], r["shots"]) for r in records))
    verb = "learns" if len(records) == 1 else "learn"
    intro = f"How well {methods} {verb} new tasks from few examples. Tasks: {tasks}."
    write_report(path, f"{methods}: {tasks}", intro, report_sections(runs, episodes or {}, on))


def report_sections(
    runs: Sequence[EvaluatedRun], episodes: Mapping[str, Episode], on: str = "inductive"
) -> list[Section]:
    """Accuracy, learning curves, inner steps, one task, and how to repeat it; empty ones left out."""
    labels = _labels(runs)
    sections = [
        Section("Accuracy on test tasks", _accuracy(labels, on)),
        Section("Learning curves", _curves(labels)),
        Section("Accuracy by inner step", _steps(labels)),
        Section("One test task", [_drawing(name, episode) for name, episode in episodes.items()]),
        *(_repeat(name, run) for name, run in labels.items()),
    ]
    return [section for section in sections if section.blocks]


def _labels(runs: Sequence[EvaluatedRun]) -> dict[str, EvaluatedRun]:
    """Runs by method, or by directory name where a method has several; numbered if that repeats too."""
    methods = Counter(run.record["method"] for run in runs)
    labels: dict[str, EvaluatedRun] = {}
    for run in runs:
        method = run.record["method"]
        label = method if methods[method] == 1 else run.name
        labels[label if label not in labels else f"{label} ({len(labels) + 1})"] = run
    return labels


def _accuracy(labels: Mapping[str, EvaluatedRun], on: str) -> list[Block]:
    named = len({run.record["method"] for run in labels.values()}) < len(labels)
    rows = [ResultRow.from_record(run.record, run=label if named else "") for label, run in labels.items()]
    text = (
        "Per cent, ± half of the 95 % interval over test tasks. Inductive: each query image is answered "
        "alone with the support set; transductive: the statistics of the query batch may help. "
    )
    notes = [f"Published {line}" for line in sources(rows)]
    gap = "In brackets: measured minus published, in points, where they can be compared." if notes else ""
    return [text + gap, methods_table(rows), *([Notes(notes)] if notes else []), *_paired(labels, on)]


def _paired(labels: Mapping[str, EvaluatedRun], on: str) -> list[Block]:
    """A paired comparison for every group of runs that were tested on the same tasks."""
    kept = {name: run for name, run in labels.items() if run.scores and run.record["tasks"] > 1}
    paired = of_same_tasks([run.task_scores(on, name) for name, run in kept.items()])
    what = dict.fromkeys("loss" if group[0].kind == "loss" else f"{on} accuracy" for group in paired)
    text = (
        f"The same test tasks, {' and '.join(what)} subtracted task by task "
        "(clear: 0 lies outside the interval):"
    )
    return [text, *(comparison_table(compare(group)) for group in paired)] if paired else []


def _curves(labels: Mapping[str, EvaluatedRun]) -> list[Block]:
    logs = {name: run.log for name, run in labels.items() if run.log}
    if not logs:
        return []
    alt = f"Training loss and validation results over meta-steps of {', '.join(logs)}."
    caption = "Above, the loss on training tasks (faint: single meta-steps); below, validation tasks."
    return [Picture(learning_curve(logs), alt, caption)]


def _steps(labels: Mapping[str, EvaluatedRun]) -> list[Block]:
    steps = {name: run.record.get("by_step", []) for name, run in labels.items()}
    curves = {name: records for name, records in steps.items() if records and "accuracy" in records[0]}
    if not curves:
        return []
    ways = {run.record["ways"] for run in labels.values()}
    only = ways.pop() if len(ways) == 1 else None
    chance = None if only is None else 1 / only
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


def _repeat(name: str, run: EvaluatedRun) -> Section:
    command = run.record.get("command", "")
    versions = Table(("Package", "Version"), tuple(run.record.get("versions", {}).items()))
    budget = Table(("Budget", ""), tuple((k, str(v)) for k, v in run.record.get("budget", {}).items()))
    blocks: list[Block] = []
    blocks += ["The command:", Code(command)] if command else []
    blocks += ["The configuration:", Code(run.config.strip())] if run.config.strip() else []
    blocks += ["What the training took:", budget] if budget.body else []
    blocks += ["The versions:", versions] if versions.body else []
    return Section(f"To repeat {name}", blocks)
