"""One trial of a tuning: a training of its own, watched at each validation."""

import math
from collections.abc import Callable
from pathlib import Path

from fphi.errors import DataError, FphiError
from fphi.experiment.setup import FewShotRun
from fphi.experiment.training import train_as_configured
from fphi.experiment.tuning.plan import Plan
from fphi.experiment.tuning.proposing import ExhaustedError
from fphi.experiment.tuning.study import OpenTrial, Study
from fphi.run.disk.checkpoint import LAST, read_checkpoint
from fphi.run.disk.interrupt import Interrupt
from fphi.run.meta.evaluate import evaluate
from fphi.run.meta.training import TrainingResult
from fphi.run.show.say import Voice

__all__ = ["ENDED_OFTEN", "BehindError", "note_end", "run_one_by_one", "value_of"]

ENDED_OFTEN = "its process ended three times at the same step"


class BehindError(Exception):
    """The trial is pruned."""


class _Watcher:
    """Told of each row of a trial's log; it reports validations, and breaks off what is behind."""

    def __init__(self, trial: OpenTrial, by_accuracy: bool) -> None:
        self.trial, self.by_accuracy = trial, by_accuracy

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Report a validation.

        Raises:
            BehindError: the trial is behind.
        """
        if "validation_loss" not in metrics or step is None:
            return
        accuracy, loss = metrics.get("validation_accuracy"), metrics["validation_loss"]
        if self.trial.report(step, value_of(accuracy, loss, self.by_accuracy), accuracy, loss):
            raise BehindError


def value_of(accuracy: float | None, loss: float, by_accuracy: bool) -> float:
    """What is tuned; nan: there is no such number."""
    return loss if not by_accuracy else math.nan if accuracy is None else accuracy


def run_one_by_one(
    study: Study,
    plan: Plan,
    folder: Path,
    interrupt: Interrupt,
    say: Callable[[int], None],
    *,
    progress: bool = False,
) -> None:
    """Train trials here until the plan is done, no other is possible, or a signal asks for a pause.

    Args:
        study: of the trials.
        plan: of the tuning.
        folder: where each trial has its run.
        interrupt: whether a signal has come.
        say: called with the number of a trial when it has ended.
        progress: whether to show a progress line, where somebody watches.

    Raises:
        FphiError: the data or the disk are at fault, and the next trial would fail alike.
    """
    while study.finished < plan.trials and not interrupt.requested:
        try:
            trial = study.next(plan.usual, same=plan.same)
        except ExhaustedError:
            return
        if not run_trial(trial, plan, folder / f"{trial.number:03d}", progress=progress):
            interrupt.requested = True
        else:
            say(trial.number)


def run_trial(trial: OpenTrial, plan: Plan, folder: Path, *, progress: bool = False) -> bool:
    """Train a trial to its end, which it notes; False: a signal asked for a pause.

    Args:
        trial: new, or left by a process that ended.
        plan: of the tuning.
        folder: of its run.
        progress: whether to show a progress line, where somebody watches.

    Raises:
        FphiError: the data or the disk are at fault, and the next trial would fail alike.
    """
    begun = (folder / LAST).is_file()
    try:
        if not trial.begin(read_checkpoint(folder / LAST).state.step if begun else 0):
            trial.fail(ENDED_OFTEN)
            return True
        if trial.is_behind():
            raise BehindError
        config = plan.config_of(trial.values)
        result = train_as_configured(
            config,
            folder,
            resume=begun,
            given=plan.given,
            progress=progress and Voice().isatty(),
            loggers=[_Watcher(trial, plan.by_accuracy)],
        )
    except BehindError:
        trial.prune()
        return True
    except FphiError as error:
        if isinstance(error, DataError) or isinstance(error.__cause__, OSError):
            raise
        trial.fail(str(error))
        return True
    assert not isinstance(result, dict)
    return _concluded(trial, FewShotRun(config, plan.given), result, plan.by_accuracy)


def _concluded(trial: OpenTrial, run: FewShotRun, result: TrainingResult | None, by_accuracy: bool) -> bool:
    """Note what a training has come to; False if it has not come to its end."""
    accuracy: float | None
    loss: float | None
    if result is None:  # a method that learns nothing across tasks is as good as its start
        accuracy, loss = _untrained(run)
    elif result.interrupted:
        return False
    else:
        accuracy, loss = result.validation_accuracy, result.validation_loss
    note_end(trial, accuracy, loss, by_accuracy)
    return True


def note_end(trial: OpenTrial, accuracy: float | None, loss: float | None, by_accuracy: bool) -> None:
    """Note what a whole training came to at its best validation; None: there is no such number."""
    value = math.nan if loss is None else value_of(accuracy, loss, by_accuracy)
    if loss is None or not (math.isfinite(value) and math.isfinite(loss)):
        trial.fail("its loss on development tasks is no finite number")
    else:
        trial.complete(value, accuracy, loss)


def _untrained(run: FewShotRun) -> tuple[float | None, float]:
    tasks = run.tasks(run.training.seed, ["train", "validation"])
    learner, count = run.learner(run.setting(tasks)), run.training.validation_tasks
    result = evaluate(learner, tasks, split="validation", count=count, inductive=False)
    return (result.accuracy if len(result.transductive) else None), result.loss
