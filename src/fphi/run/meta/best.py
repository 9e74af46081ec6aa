"""The best parameters of a training: which they are, and where they are kept."""

import math
from dataclasses import replace

from fphi.errors import FphiError
from fphi.run.disk.checkpoint import BEST, TrainingState, load_parameters, save_parameters
from fphi.run.meta.evaluate import calibrate_on
from fphi.run.meta.ranks import Ranks
from fphi.run.meta.training import BestBy, MetaTraining

__all__ = ["compare_with_best", "keep_best"]


def compare_with_best(
    ranks: Ranks, run: MetaTraining, state: TrainingState, accuracy: float | None, loss: float
) -> TrainingState:
    """Keep the parameters if they are the best so far, by ``best_by``. Of equals, the first are kept.

    Those whose answers are no numbers are never the best.
    """
    by = run.training.best_by
    before = _badness(by, state.best_accuracy, state.best_loss)
    if math.isnan(loss) or (state.best_step is not None and not _badness(by, accuracy, loss) < before):
        return replace(state, validations_without_gain=state.validations_without_gain + 1)
    ranks.first(lambda: _save_best(run, state.step, accuracy, loss))
    return replace(
        state, best_step=state.step, best_accuracy=accuracy, best_loss=loss, validations_without_gain=0
    )


def _badness(by: BestBy, accuracy: float | None, loss: float | None) -> tuple[float, float]:
    worst_if_nan = math.inf if loss is None or math.isnan(loss) else loss
    return -accuracy if by == "accuracy" and accuracy is not None else 0.0, worst_if_nan


def keep_best(run: MetaTraining, state: TrainingState) -> None:
    """Let the learner end with the best parameters, which are then in the run's folder.

    Raises:
        FphiError: no validation had a loss that is a number.
    """
    if state.best_step is None and run.validate is not None:
        raise FphiError(
            f"the validation loss was nan in all of {state.step} meta-steps, so none of {run.out} are "
            "the best parameters; try a smaller inner or outer learning rate, or fewer inner steps at test"
        )
    if state.best_step is None:  # never validated, so the running statistics were never taken
        calibrate_on(run.learner, run.tasks)
        _save_best(run, state.step, None, None)
    else:
        load_parameters(run.folder / BEST, run.learner)


def _save_best(run: MetaTraining, step: int, accuracy: float | None, loss: float | None) -> None:
    if run.out is None:
        return
    own = {"step": step, "accuracy": accuracy, "loss": loss, "fingerprint": run.fingerprint}
    save_parameters(run.out / BEST, run.learner, {**own, **run.note})
