"""Whether a learner knows when it does not know: calibrated on development tasks, measured on others."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fphi.errors import FphiError
from fphi.learnable import LearningAlgorithm
from fphi.learnable.base import evaluation_mode
from fphi.run.meta.confidence import best_temperature, calibration_error, separation
from fphi.run.meta.evaluation import Interval
from fphi.tasks import TaskDistribution

__all__ = ["Sureness", "sureness"]

_DEVELOPMENT = 100
"""Development tasks that the temperature and the score are chosen on."""
Score = Literal["probability", "energy"]
_SCORES: tuple[Score, ...] = ("probability", "energy")


@dataclass(frozen=True)
class Sureness:
    """How far probabilities can be believed.

    Args:
        chosen_on: the split of the tasks that temperature and score are from.
        temperature: by which logits were divided.
        calibration_error: of the probabilities on test tasks then.
        score: by which queries of other classes are told: the largest probability, or
            the log of the summed exponentials of the logits.
        auroc: how well they are told in each test task ``[n]``; empty where classes have no names.
        answers: on test tasks.
    """

    chosen_on: str
    temperature: float
    calibration_error: float
    score: Score
    auroc: Tensor
    answers: int

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        said: dict[str, Any] = {
            "chosen_on": self.chosen_on,
            "temperature": self.temperature,
            "calibration_error": self.calibration_error,
        }
        told = {"score": self.score, "auroc": vars(Interval.of(self.auroc))} if len(self.auroc) else {}
        return {**said, "answers": self.answers, "unknown_classes": told}


@torch.no_grad()
def sureness(
    learner: LearningAlgorithm, tasks: TaskDistribution, development: TaskDistribution, split: str, count: int
) -> Sureness:
    """Measure it, with answers that depend on no other query.

    A task's queries of classes that it has not shown are those of the next task, but for classes in common.

    Args:
        learner: any that answers with logits.
        tasks: that are tested on.
        development: those of the training. Where none of their classes were kept for validation, tasks of
            training classes calibrate, on which a learner is surer.
        split: of ``tasks``.
        count: how many tasks are tested on.

    Raises:
        FphiError: the tasks are regression.
    """
    if tasks.ways is None:
        raise FphiError("--calibrate is for tasks with classes, and these are regression; leave it out")
    with evaluation_mode(learner) as answering:
        chosen_on = "validation" if "validation" in development.splits else "train"
        before = _answered(answering, development, chosen_on, range(_DEVELOPMENT))
        after = _answered(answering, tasks, split, range(count))
    temperature = best_temperature(
        torch.cat([a.own for a in before]), np.concatenate([a.labels for a in before])
    )
    scores = {score: _aurocs(before, temperature, score) for score in _SCORES}
    best = max(_SCORES, key=lambda score: float(scores[score].mean()) if len(scores[score]) else 0.0)
    logits, labels = torch.cat([a.own for a in after]), np.concatenate([a.labels for a in after])
    error = calibration_error((logits / temperature).softmax(1).numpy(), labels)
    return Sureness(chosen_on, temperature, error, best, _aurocs(after, temperature, best), len(labels))


@dataclass(frozen=True)
class _Answered:
    """Logits for a task's own queries ``[Q, ways]``, their labels, and logits for others' ``[q, ways]``."""

    own: Tensor
    labels: NDArray[np.int64]
    others: Tensor


def _answered(
    learner: LearningAlgorithm, tasks: TaskDistribution, split: str, indices: Sequence[int]
) -> list[_Answered]:
    found = []
    for i in indices:
        task, names = tasks.task(split, i), set(tasks.class_names(split, i))
        following = tasks.task(split, i + 1)
        strange = [name not in names for name in tasks.class_names(split, i + 1)] if names else []
        other = following.query.x[
            [j for j, y in enumerate(following.query.y.tolist()) if strange and strange[y]]
        ]
        x = torch.cat([task.query.x, other])
        logits = learner.solve_alone(type(task.support)(task.support.x[None], task.support.y[None]), x[None])[
            0
        ]
        own, others = torch.split(logits.double(), [len(task.query.x), len(other)])
        found.append(_Answered(own, task.query.y.numpy(), others))
    return found


def _aurocs(answered: Sequence[_Answered], temperature: float, score: Score) -> Tensor:
    def known(logits: Tensor) -> NDArray[np.float64]:
        scaled = logits / temperature
        value = scaled.softmax(1).amax(1) if score == "probability" else scaled.logsumexp(1)
        told: NDArray[np.float64] = value.numpy()
        return told

    told = [separation(known(a.own), known(a.others)) for a in answered if len(a.others)]
    return torch.tensor(told, dtype=torch.float64)
