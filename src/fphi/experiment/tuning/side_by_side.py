"""Trials of a tuning side by side: each has its own run, and one that is behind finds a file there."""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fphi.errors import DataError, FphiError
from fphi.experiment.training import configured, train_as_configured
from fphi.experiment.tuning.plan import Plan
from fphi.experiment.tuning.proposing import ExhaustedError
from fphi.experiment.tuning.study import OpenTrial, Study
from fphi.experiment.tuning.trial import ENDED_OFTEN, BehindError, note_end, value_of
from fphi.report.runs import read_log
from fphi.run.disk.checkpoint import LAST, read_checkpoint
from fphi.run.disk.files import write_text
from fphi.run.disk.interrupt import Interrupt
from fphi.run.meta.training import TrainingResult
from fphi.run.search.executors import Executor

__all__ = ["run_trials"]

_STOP = "stop"
_EVERY = 0.5  # seconds from one look at the logs to the next


@dataclass(frozen=True)
class _Job:
    """A trial that another process trains.

    Args:
        options: of the training, by name.
        folder: of its run, which both sides see.
    """

    options: Mapping[str, Any]
    folder: Path


class _StopsAtFile:
    """Breaks a training off at the validation after which the file of that name is there."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Look whether it is.

        Raises:
            BehindError: it is.
        """
        if "validation_loss" in metrics and self.path.exists():
            raise BehindError


def run_trials(
    study: Study,
    plan: Plan,
    folder: Path,
    executor: Executor,
    interrupt: Interrupt,
    say: Callable[[int], None],
) -> None:
    """Train trials side by side until the plan is done, no other is possible, or a signal asks for a pause.

    Args:
        study: of the trials.
        plan: of the tuning.
        folder: where each trial has its run.
        executor: where they are trained.
        interrupt: whether a signal has come.
        say: called with the number of a trial when it has ended.

    Raises:
        FphiError: the data or the disk are at fault, and the next trial would fail alike.
    """
    running: dict[Future[TrainingResult | None], tuple[OpenTrial, Path]] = {}
    most = plan.trials
    while not interrupt.requested and (study.finished < most or running):
        while len(running) < executor.slots and study.finished + len(running) < most:
            numbers = {open_trial.number for open_trial, _ in running.values()}
            try:
                trial = study.next(plan.usual, numbers, plan.same)
            except ExhaustedError:
                most = study.finished + len(running)
                break
            job = _begun(trial, plan, folder / f"{trial.number:03d}")
            if job is None:
                say(trial.number)
            else:
                running[executor.submit(_train, job)] = trial, job.folder
        done, _ = wait(running, timeout=_EVERY, return_when=FIRST_COMPLETED)
        for trial, run in running.values():
            if _report(trial, run, plan.by_accuracy) and not (run / _STOP).exists():
                write_text(run / _STOP, "it is behind\n")
        for future in done:
            trial, run = running.pop(future)
            _conclude(trial, run, future, plan.by_accuracy)
            say(trial.number)


def _begun(trial: OpenTrial, plan: Plan, run: Path) -> _Job | None:
    """What is to be trained of a trial; None: it has ended before."""
    with suppress(FileNotFoundError):
        os.unlink(run / _STOP)
    step = read_checkpoint(run / LAST).state.step if (run / LAST).is_file() else 0
    if not trial.begin(step):
        trial.fail(ENDED_OFTEN)
        return None
    if trial.is_behind():
        trial.prune()
        return None
    try:
        return _Job(plan.config_of(trial.values).to_dict(), run)
    except FphiError as error:
        trial.fail(str(error))
        return None


def _train(job: _Job) -> TrainingResult | None:
    """Train it to its end, or until it is told to stop; None: it was."""
    options = dict(job.options)
    begun = job.folder if (job.folder / LAST).is_file() else None
    config = configured(options.pop("method"), options, job.folder, begun)
    try:
        result = train_as_configured(
            config,
            job.folder,
            resume=begun is not None,
            progress=False,
            loggers=[_StopsAtFile(job.folder / _STOP)],
        )
    except BehindError:
        return None
    assert isinstance(result, TrainingResult)
    return result


def _report(trial: OpenTrial, run: Path, by_accuracy: bool) -> bool:
    """Note the validations in the trial's log; whether it is behind."""
    behind = False
    for row in read_log(run / "log.csv"):
        if row["validation_loss"]:
            accuracy = float(row["validation_accuracy"]) if row["validation_accuracy"] else None
            loss = float(row["validation_loss"])
            behind |= trial.report(int(row["step"]), value_of(accuracy, loss, by_accuracy), accuracy, loss)
    return behind


def _conclude(trial: OpenTrial, run: Path, future: Future[TrainingResult | None], by_accuracy: bool) -> None:
    error = future.exception()
    if isinstance(error, DataError) or (error is not None and isinstance(error.__cause__, OSError)):
        raise error
    if error is not None:
        trial.fail(str(error))
        return
    _report(trial, run, by_accuracy)
    result = future.result()
    if result is None:
        trial.prune()
        return
    note_end(trial, result.validation_accuracy, result.validation_loss, by_accuracy)
