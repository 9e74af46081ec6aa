"""Across-task training, the outer loop: draw tasks, take the meta-gradient, step, validate, save."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from fphi.errors import FphiError
from fphi.learnable.base import LearningAlgorithm, evaluation_mode
from fphi.optimize.gradient import GradientDescent
from fphi.run.disk.checkpoint import (
    BEST,
    LAST,
    Checkpoint,
    TrainingState,
    has_begun,
    load_shared_parameters,
    read_checkpoint,
    save_checkpoint,
)
from fphi.run.disk.directory import claim
from fphi.run.disk.files import Json, write_text
from fphi.run.disk.interrupt import Interrupt, interrupts
from fphi.run.meta.best import compare_with_best, keep_best
from fphi.run.meta.evaluate import calibrate_on
from fphi.run.meta.freezing import frozen, take_statistics
from fphi.run.meta.logs import Log, LogRow, MetricsLogger, conclude, open_logs
from fphi.run.meta.ranks import Machines, Ranks, launch
from fphi.run.meta.step import Requests, meta_step, require_finite_weights
from fphi.run.meta.training import MetaTraining, Training, TrainingResult, Validate, duration_seconds
from fphi.run.show.progress import ProgressLine, progress_line
from fphi.run.show.say import say
from fphi.tasks.distribution import TaskDistribution

__all__ = ["Training", "TrainingResult", "Validate", "meta_train", "train"]

_EARLY = 0.05  # of the steps: when the first validation is due at the latest


def train(
    learner: LearningAlgorithm,
    optimizer: GradientDescent,
    tasks: TaskDistribution,
    training: Training,
    out: Path,
    *,
    validate: Validate | None = None,
    resume: bool = False,
    progress: bool = True,
    fingerprint: str = "",
    texts: Mapping[str, str] | None = None,
    note: Mapping[str, Json] | None = None,
    loggers: Sequence[MetricsLogger] = (),
    options: Mapping[str, Any] | None = None,
    pictures: Callable[[Path], Mapping[str, bytes]] = lambda out: {},
    on_resume: Callable[[], None] = lambda: None,
) -> TrainingResult:
    """Train φ over tasks; ``learner`` ends with the parameters that were best on the validation tasks.

    Meta-step t trains on tasks t·B to (t+1)·B−1 of the split "train", and draws its random numbers
    from (seed, t, rank); so a resumed run repeats an uninterrupted one bit for bit. SIGTERM and
    Ctrl-C end a run after the current step; ``learner`` then holds the last parameters.

    With several devices this command is started again for each further one (see `launch`); those
    processes end inside this call.

    Args:
        learner: what is trained, in place.
        optimizer: over the learner's parameters.
        tasks: with a split "train".
        training: how long, how often.
        out: the run's folder; gets last.safetensors, best.safetensors, log.csv, and what its loggers keep.
        validate: measures a learner on validation tasks; None: the last parameters count as the best.
        resume: go on with the run in ``out``.
        progress: whether to show a progress line on stderr.
        fingerprint: of the configuration; resume demands the one that the run began with.
        texts: further files of a new run by their names, written once the folder is this run's own.
        note: kept with the best parameters.
        loggers: told of each row of the log too; those of Lightning Fabric are such.
        options: of the run, for the loggers that show them.
        pictures: of the run's folder, for the loggers that show them, PNG files by name.
        on_resume: called once a folder with a run is this process's own, before the run is read.

    Raises:
        FphiError: ``out`` holds a run already, or none to resume, or a damaged one, or one of another
            configuration; the loss or a gradient is not finite; the disk is full.
    """
    if "train" not in tasks.splits:
        raise FphiError(f"these tasks have no split 'train', only {', '.join(tasks.splits)}; choose others")
    run = MetaTraining(
        learner, optimizer, tasks, training, out, validate, fingerprint, texts or {}, note or {}, loggers,
        options or {}, pictures, on_resume,
    )  # fmt: skip
    return launch(
        lambda ranks: _train(ranks, run, resume, progress),
        training.accelerator,
        Machines(training.nodes, training.devices),
        training.precision,
    )


def _train(ranks: Ranks, run: MetaTraining, resume: bool, progress: bool) -> TrainingResult:
    """One process's part of a run, from its beginning to its end."""
    training = run.training
    _require_same_run(ranks, run)
    if ranks.size > -(-training.meta_batch // (training.chunk_size or 1)):
        chunks, each = (
            (f" in chunks of {training.chunk_size}", "chunk") if training.chunk_size else ("", "task")
        )
        raise FphiError(
            f"meta_batch is {training.meta_batch}{chunks}, and {ranks.size} processes were started; "
            f"each needs a {each}"
        )
    run.learner.to(ranks.device)
    run = replace(run, tasks=run.tasks.on(ranks.device))
    with ExitStack() as stack:
        stack.enter_context(frozen(run.learner, training.freeze))
        out = run.folder
        ranks.first(lambda: stack.enter_context(claim(out, resume, begun=lambda: has_begun(out))))
        state = _begin(ranks, run, resume, progress)
        logs: list[Log] = []
        if ranks.is_first:
            opened = open_logs(out, state.step, training.logger, run.loggers, run.options)
            logs = stack.enter_context(opened)
        line = stack.enter_context(progress_line(state.step, training, progress and ranks.is_first))
        state, ended = _loop(ranks, run, state, logs, line)
        if ended:
            ranks.first(lambda: keep_best(run, state))
        result = _result(state, training, ended)
        if ended:
            conclude(logs, lambda: run.pictures(out), result.table())
    return result


def meta_train(
    learner: LearningAlgorithm, optimizer: GradientDescent, tasks: TaskDistribution, training: Training
) -> int:
    """The same training in memory, in this process: no folder, no validation, no signal ends it.

    Args:
        learner: what is trained, in place.
        optimizer: over the learner's parameters.
        tasks: with a split "train".
        training: how long; what it says of folders and validation does not count.

    Returns:
        The meta-steps done: fewer than asked for where ``max_time`` was up.
    """
    run = MetaTraining(learner, optimizer, tasks, training, None, None, "")
    state, _ = _loop(Ranks(), run, TrainingState(), [], lambda step, loss, accuracy: None)
    calibrate_on(learner, tasks)
    return state.step


def _loop(
    ranks: Ranks, run: MetaTraining, state: TrainingState, logs: list[Log], line: ProgressLine
) -> tuple[TrainingState, bool]:
    """Where the training stands in the end, and whether that is its end: else a signal asked for a pause."""
    training = run.training
    session = saved = time.monotonic()
    began = session - state.seconds
    limit = math.inf if training.max_time is None else duration_seconds(training.max_time)
    accuracy: float | None = None
    gpus = [ranks.device] if ranks.device.type == "cuda" else []
    ended = _is_over(state, training)
    stoppable = interrupts() if run.out is not None else nullcontext(Interrupt())
    with stoppable as interrupt, torch.random.fork_rng(gpus):

        def ask() -> Requests:
            now = time.monotonic()
            due = now - saved >= training.checkpoint_seconds
            return Requests(interrupt.requested, due, now - session >= limit)

        while not ended:
            loss, granted = meta_step(ranks, run, state.step, ask, session + limit)
            done = state.step + (loss is not None)  # the time was up within this step, and φ is as before it
            state = replace(state, step=done, seconds=time.monotonic() - began)

            validated = _validation_is_due(state.step, run) or (granted.end and run.validate is not None)
            if validated or any(granted) or state.step == training.steps:
                require_finite_weights(ranks, run, state.step)  # before they are kept
            validation_loss: float | None = None
            if validated:
                accuracy, validation_loss = ranks.first(lambda: _validate(run))
                state = compare_with_best(ranks, run, state, accuracy, validation_loss)
            if loss is not None:
                row = LogRow(state.step, loss, run.optimizer.learning_rate, state.seconds)
                if validated:
                    row = replace(row, validation_accuracy=accuracy, validation_loss=validation_loss)
                if validated or state.step % training.log_every == 0 or state.step == training.steps:
                    for log in logs:
                        log.write(row)
                line(state.step, loss, accuracy)

            ended = granted.end or _is_over(state, training)
            if granted.stop or granted.save or validated or ended:
                ranks.first(partial(_save, run, state, logs))
                saved = time.monotonic()
            if granted.stop:
                break
    return state, ended


def _require_same_run(ranks: Ranks, run: MetaTraining) -> None:
    """Every process was started by itself; none may train something else than the first."""
    own = (str(run.folder.absolute()), run.training, run.fingerprint)
    first = ranks.first(lambda: own)
    if own != first:
        raise FphiError(
            f"rank {ranks.rank} was asked to train {own} and the first one {first}; give all the same command"
        )


def _begin(ranks: Ranks, run: MetaTraining, resume: bool, progress: bool) -> TrainingState:
    """Bring every rank to where the run stands: a new one is at a checkpoint too, that of step 0."""
    ranks.first(run.on_resume if resume else lambda: _save_new(run, progress))
    checkpoint = ranks.first(lambda: _read(run))
    checkpoint.restore(run.learner, run.optimizer.optimizer)
    return checkpoint.state


def _save_new(run: MetaTraining, progress: bool) -> None:
    shared: list[str] = []
    if run.training.start_from is not None:
        source = Path(run.training.start_from) / BEST
        shared = load_shared_parameters(source, run.learner)
        if progress:
            say(f"begins with {len(shared)} of {len(run.learner.state_dict())} tensors as in {source}")
    take_statistics(run.learner, run.tasks, shared)
    for name, text in run.texts.items():
        write_text(run.folder / name, text)
    _save(run, TrainingState(), [])


def _read(run: MetaTraining) -> Checkpoint:
    checkpoint = read_checkpoint(run.folder / LAST)
    if checkpoint.fingerprint != run.fingerprint:
        raise FphiError(
            f"{run.out} was trained with another configuration; resume with its config.yaml, "
            "or train in another folder"
        )
    if checkpoint.state.step > run.training.steps:
        raise FphiError(
            f"{run.folder / LAST} has done {checkpoint.state.step} of {run.training.steps} steps, which "
            "no training does; train again in another folder"
        )
    return checkpoint


def _save(run: MetaTraining, state: TrainingState, logs: list[Log]) -> None:
    if run.out is None:
        return
    # The logs first: a checkpoint promises every row up to its step.
    for log in logs:
        log.sync()
    save_checkpoint(run.out / LAST, run.learner, run.optimizer, state, run.fingerprint)


def _validation_is_due(step: int, run: MetaTraining) -> bool:
    """Now and then, in the end, and early once, so that a run that is stopped soon has something to show."""
    if run.validate is None:
        return False
    every, steps = run.training.validate_every, run.training.steps
    early = max(1, round(_EARLY * steps))
    return step == steps or (every > 0 and (step % every == 0 or step == early < every))


def _validate(run: MetaTraining) -> tuple[float | None, float]:
    assert run.validate is not None
    with evaluation_mode(run.learner) as learner:
        accuracy, loss = run.validate(learner)
    return None if accuracy is None or math.isnan(accuracy) else accuracy, loss


def _is_over(state: TrainingState, training: Training) -> bool:
    return state.step >= training.steps or _out_of_patience(state, training)


def _out_of_patience(state: TrainingState, training: Training) -> bool:
    return 0 < training.patience <= state.validations_without_gain


def _result(state: TrainingState, training: Training, ended: bool) -> TrainingResult:
    return TrainingResult(
        step=state.step,
        seconds=state.seconds,
        best_step=state.best_step,
        validation_accuracy=state.best_accuracy,
        validation_loss=state.best_loss,
        interrupted=not ended,
        stopped_early=_out_of_patience(state, training) and state.step < training.steps,
    )
