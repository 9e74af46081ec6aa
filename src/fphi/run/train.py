"""Across-task training, the outer loop: draw tasks, take the meta-gradient, step, validate, save."""

import math
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from fphi.errors import FphiError
from fphi.learnable.base import LearningAlgorithm, evaluation_mode
from fphi.optimize.gradient import GradientDescent
from fphi.run.checkpoint import (
    BEST,
    LAST,
    Checkpoint,
    Standing,
    load_parameters,
    load_shared_parameters,
    read_checkpoint,
    save_checkpoint,
    save_parameters,
)
from fphi.run.directory import claim
from fphi.run.evaluate import calibrate_on
from fphi.run.files import replace_file
from fphi.run.interrupt import interrupts
from fphi.run.logs import Log, Row, open_logs
from fphi.run.meta_step import Wishes, meta_step
from fphi.run.progress import ProgressLine, progress_line
from fphi.run.ranks import Ranks, launch
from fphi.run.training import BestBy, Run, Training, TrainingResult, Validate
from fphi.tasks.distribution import TaskDistribution

__all__ = ["Training", "TrainingResult", "Validate", "train"]


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
        out: the run's folder; gets last.safetensors, best.safetensors, log.csv and tensorboard/.
        validate: measures a learner on validation tasks; None: the last parameters count as the best.
        resume: go on with the run in ``out``.
        progress: whether to show a progress line on stderr.
        fingerprint: of the configuration; resume demands the one that the run began with.
        texts: further files of a new run by their names, written once the folder is this run's own.

    Raises:
        FphiError: ``out`` holds a run already, or none to resume, or a damaged one, or one of another
            configuration; the loss or a gradient is not finite; the disk is full.
    """
    if "train" not in tasks.splits:
        raise FphiError(f"these tasks have no split 'train', only {', '.join(tasks.splits)}; choose others")
    run = Run(learner, optimizer, tasks, training, out, validate, fingerprint, texts or {})
    return launch(
        lambda ranks: _train(ranks, run, resume, progress),
        training.accelerator,
        training.devices,
        training.precision,
    )


def _train(ranks: Ranks, run: Run, resume: bool, progress: bool) -> TrainingResult:
    """One process's part of a run, from its beginning to its end."""
    training = run.training
    _require_same_run(ranks, run)
    run.learner.to(ranks.device)
    run = replace(run, tasks=run.tasks.on(ranks.device))
    with ExitStack() as stack:
        stack.enter_context(_frozen(run.learner, training.freeze))
        ranks.first(lambda: stack.enter_context(claim(run.out, resume)))
        standing = _begin(ranks, run, resume, progress)
        logs: list[Log] = []
        if ranks.is_first:
            logs = stack.enter_context(open_logs(run.out, standing.step, training.tensorboard))
        line = stack.enter_context(progress_line(standing.step, training, progress and ranks.is_first))
        standing = _loop(ranks, run, standing, logs, line)
    if _is_over(standing, training):
        ranks.first(lambda: _keep_best(run, standing))
    return _result(standing, training)


def _loop(ranks: Ranks, run: Run, standing: Standing, logs: list[Log], line: ProgressLine) -> Standing:
    training = run.training
    began = time.monotonic() - standing.seconds
    saved = time.monotonic()
    accuracy: float | None = None
    gpus = [ranks.device] if ranks.device.type == "cuda" else []
    with interrupts() as interrupt, torch.random.fork_rng(gpus):

        def wish() -> Wishes:
            return Wishes(interrupt.requested, time.monotonic() - saved >= training.checkpoint_seconds)

        while not _is_over(standing, training):
            loss, granted = meta_step(ranks, run, standing.step, wish)
            standing = replace(standing, step=standing.step + 1, seconds=time.monotonic() - began)
            row = Row(standing.step, loss, run.optimizer.learning_rate, standing.seconds)

            validated = _validation_is_due(standing.step, run)
            if validated:
                accuracy, validation_loss = ranks.first(lambda: _validate(run))
                standing = _compare(ranks, run, standing, accuracy, validation_loss)
                row = replace(row, validation_accuracy=accuracy, validation_loss=validation_loss)
            if validated or standing.step % training.log_every == 0 or standing.step == training.steps:
                for log in logs:
                    log.write(row)
            line(standing.step, loss, accuracy)

            if granted.stop or granted.save or validated or _is_over(standing, training):
                ranks.first(partial(_save, run, standing, logs))
                saved = time.monotonic()
            if granted.stop:
                break
    return standing


def _require_same_run(ranks: Ranks, run: Run) -> None:
    """Every process was started by itself; none may train something else than the first."""
    own = (str(run.out.absolute()), run.training, run.fingerprint)
    first = ranks.first(lambda: own)
    if own != first:
        raise FphiError(
            f"rank {ranks.rank} was asked to train {own} and the first one {first}; give all the same command"
        )


def _begin(ranks: Ranks, run: Run, resume: bool, progress: bool) -> Standing:
    """Bring every rank to where the run stands: a new one is at a checkpoint too, that of step 0."""
    if not resume:
        ranks.first(lambda: _save_new(run, progress))
    checkpoint = ranks.first(lambda: _read(run))
    checkpoint.restore(run.learner, run.optimizer)
    return checkpoint.standing


@contextmanager
def _frozen(learner: LearningAlgorithm, part: str | None) -> Iterator[None]:
    """Within it the parameters of ``part`` require no gradient, and so no optimizer moves them."""
    learning = {name: p for name, p in learner.named_parameters() if p.requires_grad}
    chosen = [p for name, p in learning.items() if part is not None and f"{name}.".startswith(f"{part}.")]
    if part is not None and not 0 < len(chosen) < len(learning):
        parts = sorted({name.split(".")[0] for name in learning})
        what = "every parameter" if chosen else "no parameter"
        raise FphiError(f"--freeze {part} is {what} of this learner; it has the parts {', '.join(parts)}")
    for parameter in chosen:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in chosen:
            parameter.requires_grad_()


def _save_new(run: Run, progress: bool) -> None:
    if run.training.start_from is not None:
        source = Path(run.training.start_from) / BEST
        shared = load_shared_parameters(source, run.learner)
        if progress:
            print(
                f"begins with {len(shared)} of {len(run.learner.state_dict())} tensors as in {source}",
                file=sys.stderr,
            )
    for name, text in run.texts.items():
        replace_file(run.out / name, text.encode())
    _save(run, Standing(), [])


def _read(run: Run) -> Checkpoint:
    checkpoint = read_checkpoint(run.out / LAST)
    if checkpoint.fingerprint != run.fingerprint:
        raise FphiError(
            f"{run.out} was trained with another configuration; resume with its config.yaml, "
            "or train in another folder"
        )
    return checkpoint


def _save(run: Run, standing: Standing, logs: list[Log]) -> None:
    # The logs first: a checkpoint promises every row up to its step.
    for log in logs:
        log.sync()
    save_checkpoint(run.out / LAST, run.learner, run.optimizer, standing, run.fingerprint)


def _validation_is_due(step: int, run: Run) -> bool:
    every = run.training.validate_every
    return run.validate is not None and (step == run.training.steps or (every > 0 and step % every == 0))


def _validate(run: Run) -> tuple[float | None, float]:
    assert run.validate is not None
    with evaluation_mode(run.learner):
        accuracy, loss = run.validate(run.learner)
    return None if accuracy is None or math.isnan(accuracy) else accuracy, loss


def _compare(ranks: Ranks, run: Run, standing: Standing, accuracy: float | None, loss: float) -> Standing:
    """Keep the parameters if they are the best so far, by ``best_by``. Of equals, the first are kept."""
    by = run.training.best_by
    before = _badness(by, standing.best_accuracy, standing.best_loss)
    if standing.best_step is not None and not _badness(by, accuracy, loss) < before:
        return replace(standing, misses=standing.misses + 1)
    ranks.first(lambda: _save_best(run, standing.step, accuracy, loss))
    return replace(standing, best_step=standing.step, best_accuracy=accuracy, best_loss=loss, misses=0)


def _badness(by: BestBy, accuracy: float | None, loss: float | None) -> tuple[float, float]:
    worst_if_nan = math.inf if loss is None or math.isnan(loss) else loss
    return -accuracy if by == "accuracy" and accuracy is not None else 0.0, worst_if_nan


def _is_over(standing: Standing, training: Training) -> bool:
    return standing.step >= training.steps or _out_of_patience(standing, training)


def _out_of_patience(standing: Standing, training: Training) -> bool:
    return 0 < training.patience <= standing.misses


def _keep_best(run: Run, standing: Standing) -> None:
    if standing.best_step is None:  # never validated, so the running statistics were never taken
        calibrate_on(run.learner, run.tasks)
        _save_best(run, standing.step, None, None)
    else:
        load_parameters(run.out / BEST, run.learner)


def _save_best(run: Run, step: int, accuracy: float | None, loss: float | None) -> None:
    note = {"step": step, "accuracy": accuracy, "loss": loss, "fingerprint": run.fingerprint}
    save_parameters(run.out / BEST, run.learner, note)


def _result(standing: Standing, training: Training) -> TrainingResult:
    return TrainingResult(
        step=standing.step,
        seconds=standing.seconds,
        best_step=standing.best_step,
        validation_accuracy=standing.best_accuracy,
        validation_loss=standing.best_loss,
        interrupted=not _is_over(standing, training),
        stopped_early=_out_of_patience(standing, training) and standing.step < training.steps,
    )
