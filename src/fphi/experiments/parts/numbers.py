"""Numbers of several tests: means over tasks and trainings, with how sure they are."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fphi.experiment.evaluation import RunEvaluation
from fphi.run.meta.evaluation import Interval

__all__ = ["accuracies", "by_step", "gain_of", "mean_of", "percent"]

Scores = Sequence[Mapping[str, Tensor]]
"""Of each training the values by task ``[n]``, by name."""


def mean_of(scores: Scores, name: str, domains: Sequence[str] | None = None) -> dict[str, Any]:
    """The mean over trainings that were tested on the same tasks.

    Args:
        scores: of each training.
        name: "loss", "inductive", or "transductive", which is the inductive one too where no query's answer
            depends on another one.
        domains: which domain each task is of, where tasks are many and domains few: tasks of one domain are
            alike, and what is new to a learner is the domain.

    Returns:
        ``mean``; ``ci95``, half its interval over tasks, each task's value being that of all trainings; and
        ``by_seed``, the mean of each training. With domains all three are of the means of domains, which
        are in ``by_domain``, and the interval is that of Student's t.
    """
    return _mean([_values(own, name) for own in scores], domains)


def gain_of(scores: Scores, others: Scores, domains: Sequence[str] | None = None) -> dict[str, Any]:
    """By how much the accuracy of some trainings is above that of others, task by task; see `mean_of`."""
    pairs = zip(scores, others, strict=True)
    gains = [_values(one, "transductive") - _values(other, "transductive") for one, other in pairs]
    return _mean(gains, domains)


def _values(scores: Mapping[str, Tensor], name: str) -> Tensor:
    """One is the other where no query's answer depends on another one."""
    return scores[name] if name in scores else scores["inductive"]


def _mean(of_trainings: list[Tensor], domains: Sequence[str] | None) -> dict[str, Any]:
    values = torch.stack(of_trainings).double()
    if domains is not None:
        return _mean_of_domains(values, domains)
    interval = Interval.of(values.mean(0))
    return {"mean": interval.mean, "ci95": interval.ci95, "by_seed": values.mean(1).tolist()}


def _mean_of_domains(values: Tensor, domains: Sequence[str]) -> dict[str, Any]:
    """From values ``[trainings, tasks]``: of a single domain the interval is infinite."""
    names = sorted(set(domains))
    rows = {name: [place for place, own in enumerate(domains) if own == name] for name in names}
    means = torch.stack([values[:, of_domain].mean(1) for of_domain in rows.values()], 1)
    by_domain = means.mean(0)
    return {
        "mean": float(by_domain.mean()),
        "ci95": _half_width(by_domain),
        "by_seed": means.mean(1).tolist(),
        "by_domain": dict(zip(rows, by_domain.tolist(), strict=True)),
    }


def _half_width(values: Tensor) -> float:
    """Of the 95 % interval of a mean of few values (Student's t)."""
    from scipy.stats import t

    n = len(values)
    return float(t.ppf(0.975, n - 1)) * float(values.std()) / math.sqrt(n) if n > 1 else math.inf


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


def accuracies(scores: Scores, domains: Sequence[str] | None = None) -> dict[str, Any]:
    """The mean accuracy of queries answered together and, if it was taken, alone: see `mean_of`."""
    kinds = [kind for kind in ("transductive", "inductive") if kind == "transductive" or kind in scores[0]]
    return {kind: mean_of(scores, kind, domains) for kind in kinds}
