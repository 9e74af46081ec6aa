"""The record of a test, which tells of the training before it too."""

from pathlib import Path
from typing import Any

import torch

from fphi.errors import FphiError
from fphi.experiment.classes import classes_told
from fphi.experiment.config import read_run, tasks_in_full
from fphi.experiment.extending import commands_of, extended_at
from fphi.experiment.plugins import in_file, is_in_file
from fphi.experiment.setup import FewShotRun
from fphi.experiment.sizes import size_of
from fphi.experiment.versions import versions
from fphi.report.files import TestRecord, read_tests
from fphi.report.runs import read_log
from fphi.run.disk.checkpoint import BEST, read_note
from fphi.run.disk.finite import only_finite
from fphi.run.meta.evaluation import Evaluation
from fphi.tasks import NAMED, TaskDistribution

__all__ = ["budget_of", "command_of", "earlier_test", "record_of", "start_of"]


def start_of(trained: FewShotRun) -> dict[str, str | None]:
    """The run that a training began with; it may be gone since."""
    run = Path(str(trained.training.start_from))
    try:
        method = read_run(run).get("method")
    except FphiError:
        method = None
    if is_in_file(method):
        method = in_file(str(method), lambda path: Path(path).name)
    return {"run": run.resolve().name, "method": method, "frozen": trained.training.freeze}


def earlier_test(run: Path) -> TestRecord | dict[str, Any]:
    """A test that was kept before: it knows of the training what a run without its log has lost."""
    try:
        return next(iter(read_tests(run).values()), {})
    except FphiError:
        return {}


def command_of(run: Path) -> str:
    """What makes the run again, as one line for a shell: of one that was given more steps, two commands."""
    return " && ".join(commands_of(run))


def budget_of(run: Path, trained: FewShotRun) -> dict[str, object]:
    """What the training took, from the last row of its log; empty without one."""
    try:
        rows = read_log(run / "log.csv")
    except FphiError:  # damaged: no reason to throw the evaluation away
        rows = []
    if not rows:
        return {}
    step, seconds = int(rows[-1]["step"]), float(rows[-1].get("seconds") or 0)
    extended = extended_at(run)
    return {
        "meta-steps": step,
        **({"extended after": extended} if extended else {}),
        "training tasks": step * trained.training.meta_batch,
        "seconds": round(seconds),
        **_threads(run),
    }


def _threads(run: Path) -> dict[str, object]:
    """Of each process of the training; runs of before did not note them."""
    noted = read_note(run / BEST).get("threads")
    return {} if noted is None else {"threads": noted}


def record_of(
    run: Path,
    trained: FewShotRun,
    tasks: TaskDistribution,
    evaluation: Evaluation,
    *,
    split: str,
    turns: int,
    seed: int,
    test_steps: int | None,
) -> dict[str, Any]:
    """What is kept of a test: what was tested, on which tasks, the numbers, and what the training was."""
    options, earlier, size = trained.options, earlier_test(run), trained.options.image_size
    record = {
        "method": trained.config.name,
        "protocol": tasks.protocol or options.tasks,
        "data": tasks_in_full(options.tasks),
        **({} if options.tasks in NAMED else classes_told(tasks, split)),
        **({"split": split} if split != "test" else {}),
        **({"turns": turns} if turns > 1 else {}),
        **({} if test_steps is None else {"test_steps": test_steps}),
        **({"images": f"{size}×{size} grey"} if options.image_reduction == "area" else {}),
        **size_of(tasks, split),
        **evaluation.to_json(),
        "seed": seed,
        "training_seed": trained.training.seed,
        "command": command_of(run) or earlier.get("command", ""),
        "budget": budget_of(run, trained) or earlier.get("budget", {}),
        "threads": torch.get_num_threads(),
        "versions": versions(),
    }
    if trained.training.start_from is not None:
        record["start"] = earlier.get("start") or start_of(trained)
    finite: dict[str, Any] = only_finite(record)
    return finite
