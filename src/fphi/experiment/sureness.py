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
from fphi.run.meta.evaluate import device_of
from fphi.run.meta.evaluation import Interval
from fphi.tasks import Examples, FewShotTasks, TaskDistribution

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
        learner: any whose answers are probabilities, see `LearningAlgorithm.logits`.
        tasks: that are tested on.
        development: those of the training. Where none of their classes were kept for validation, tasks of
            training classes that are made as the test's calibrate, on which a learner is surer.
        split: of ``tasks``.
        count: how many tasks are tested on.

    Raises:
        FphiError: the tasks are regression, there are no development tasks of their size, or answers are no
            probabilities.
    """
    if tasks.ways is None:
        raise FphiError("--calibrate is for tasks with classes, and these are regression; leave it out")
    development, chosen_on = _to_choose_on(development, tasks)
    chosen = min(_DEVELOPMENT, development.count(chosen_on) or _DEVELOPMENT)
    with evaluation_mode(learner) as answering:
        before = _answered(answering, development, chosen_on, range(chosen))
        after = _answered(answering, tasks, split, range(count))
    temperature = best_temperature(
        torch.cat([a.own for a in before]), np.concatenate([a.labels for a in before])
    )
    scores = {score: _aurocs(before, temperature, score) for score in _SCORES}
    best = max(_SCORES, key=lambda score: float(scores[score].mean()) if len(scores[score]) else 0.0)
    logits, labels = torch.cat([a.own for a in after]), np.concatenate([a.labels for a in after])
    error = calibration_error((logits / temperature).softmax(1).numpy(), labels)
    return Sureness(chosen_on, temperature, error, best, _aurocs(after, temperature, best), len(labels))


def _to_choose_on(
    development: TaskDistribution, tasks: TaskDistribution
) -> tuple[TaskDistribution, Literal["validation", "train"]]:
    """The tasks to choose on, and their split: they are of the size of those that are tested on."""
    if "validation" in development.splits:
        return development, "validation"
    if "train" not in development.splits:
        raise FphiError("--calibrate needs a split 'validation' or 'train', and these tasks have neither")
    if isinstance(development, FewShotTasks):
        return development.as_at_test("train"), "train"
    labels, ways = development.task("train", 0).support.y, tasks.ways or 1
    if labels.is_floating_point() or (int(labels.max()) + 1, len(labels)) != (ways, ways * tasks.shots):
        raise FphiError(
            f"--calibrate needs development tasks of {ways} ways and {tasks.shots} shots, as at test, and "
            "these training tasks have others: give them a split 'validation', or leave --calibrate out"
        )
    return development, "train"


@dataclass(frozen=True)
class _Answered:
    """Logits for a task's own queries ``[Q, ways]``, their labels, and logits for others' ``[q, ways]``."""

    own: Tensor
    labels: NDArray[np.int64]
    others: Tensor


def _answered(
    learner: LearningAlgorithm, tasks: TaskDistribution, split: str, indices: Sequence[int]
) -> list[_Answered]:
    found, device, most = [], device_of(learner), tasks.count(split)
    for i in indices:
        j = i + 1 if most is None else (i + 1) % most
        task, names = tasks.task(split, i), set(tasks.class_names(split, i))
        following = tasks.task(split, j).query
        strange = [name not in names for name in tasks.class_names(split, j)] if names else []
        other = following.x[[k for k, y in enumerate(following.y.tolist()) if strange and strange[y]]]
        x = torch.cat([task.query.x, other]).to(device)
        support = Examples(*(part[None].to(device) for part in task.support))
        logits = learner.logits(learner.solve_alone(support, x[None])[0].cpu().double())
        if logits is None:
            raise FphiError(f"{type(learner).__name__} answers with no probabilities; leave --calibrate out")
        own, others = torch.split(logits, [len(task.query.x), len(other)])
        found.append(_Answered(own, task.query.y.cpu().numpy(), others))
    return found


def _aurocs(answered: Sequence[_Answered], temperature: float, score: Score) -> Tensor:
    def known(logits: Tensor) -> NDArray[np.float64]:
        scaled = logits / temperature
        value = scaled.softmax(1).amax(1) if score == "probability" else scaled.logsumexp(1)
        told: NDArray[np.float64] = value.numpy()
        return told

    told = [separation(known(a.own), known(a.others)) for a in answered if len(a.others)]
    return torch.tensor(told, dtype=torch.float64)
