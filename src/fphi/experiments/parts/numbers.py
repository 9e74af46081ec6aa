"""Numbers of several tests: means over tasks and trainings, with how sure they are."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fphi.experiment.evaluation import RunEvaluation
from fphi.run.meta.evaluation import Interval

__all__ = ["accuracies", "by_step", "gain_of", "mean_of", "percent"]


def mean_of(scores: Sequence[Mapping[str, Tensor]], name: str) -> dict[str, Any]:
    """The mean over trainings that were tested on the same tasks.

    Args:
        scores: of each training the values by task ``[n]``, by name.
        name: "loss", "inductive", or "transductive", which is the inductive one too where no query's answer
            depends on another one.

    Returns:
        ``mean``; ``ci95``, half its interval over tasks, each task's value being that of all trainings; and
        ``by_seed``, the mean of each training.
    """
    return _mean([_values(own, name) for own in scores])


def gain_of(scores: Sequence[Mapping[str, Tensor]], others: Sequence[Mapping[str, Tensor]]) -> dict[str, Any]:
    """By how much the accuracy of some trainings is above that of others, task by task; see `mean_of`."""
    pairs = zip(scores, others, strict=True)
    return _mean([_values(one, "transductive") - _values(other, "transductive") for one, other in pairs])


def _values(scores: Mapping[str, Tensor], name: str) -> Tensor:
    """One is the other where no query's answer depends on another one."""
    return scores[name] if name in scores else scores["inductive"]


def _mean(of_trainings: list[Tensor]) -> dict[str, Any]:
    values = torch.stack(of_trainings).double()
    interval = Interval.of(values.mean(0))
    return {"mean": interval.mean, "ci95": interval.ci95, "by_seed": values.mean(1).tolist()}


def by_step(tests: Sequence[RunEvaluation], name: str) -> list[float]:
    """The mean "loss" or "accuracy" after 0, 1, … inner steps, over tasks and trainings."""
    rows = [[float(row[name]) for row in test.record["by_step"]] for test in tests]
    return [sum(column) / len(column) for column in zip(*rows, strict=True)]


def percent(values: Mapping[str, Any], unit: str = "%") -> str:
    """An accuracy as a reader wants it, or a difference of two in points.

    >>> percent({"mean": 0.9512, "ci95": 0.0041})
    '95.1 ± 0.4 %'
    """
    return f"{100 * values['mean']:.1f} ± {100 * values['ci95']:.1f} {unit}"


def accuracies(scores: Sequence[Mapping[str, Tensor]]) -> dict[str, Any]:
    """The mean accuracy of queries answered together and, if it was taken, alone: see `mean_of`."""
    kinds = [kind for kind in ("transductive", "inductive") if kind == "transductive" or kind in scores[0]]
    return {kind: mean_of(scores, kind) for kind in kinds}
