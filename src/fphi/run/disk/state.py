"""How far a run is."""

from dataclasses import asdict, dataclass
from typing import Any, Self

from fphi.run.disk.files import Json
from fphi.run.disk.schema import group, number, whole

__all__ = ["TrainingState"]

_MOST = 2**53  # steps and seconds
_IN_FILES = {"validations_without_gain": "misses"}  # what was named otherwise before


@dataclass(frozen=True)
class TrainingState:
    """How far a run is, and what was best on its validation tasks.

    Args:
        step: meta-steps done.
        seconds: time spent in them, over all sessions of the run.
        best_step: meta-steps that had been done when the best parameters were found; None: not validated yet.
        best_accuracy: their accuracy, a fraction; None where the tasks have none.
        best_loss: their mean task loss.
        validations_without_gain: validations since then.
    """

    step: int = 0
    seconds: float = 0.0
    best_step: int | None = None
    best_accuracy: float | None = None
    best_loss: float | None = None
    validations_without_gain: int = 0

    def to_json(self) -> Json:
        """Under the names that these numbers have in the files of runs."""
        return {_IN_FILES.get(name, name): value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, content: Any) -> Self:
        """The inverse of `to_json`; a `ValueError` or a `TypeError` if no training stands so."""
        names = {name: own for own, name in _IN_FILES.items()}
        values = group(content, "the standing")
        state = cls(**{names.get(name, name): value for name, value in values.items()})
        step = whole(state.step, "step", 0, _MOST)
        number(state.seconds, "seconds", 0, _MOST)
        whole(state.validations_without_gain, "misses", 0, _MOST)
        if state.best_step is not None:
            whole(state.best_step, "best_step", 0, step)
        if state.best_accuracy is not None:
            number(state.best_accuracy, "best_accuracy", 0, 1)
        if state.best_loss is not None:
            number(state.best_loss, "best_loss")
        return state
