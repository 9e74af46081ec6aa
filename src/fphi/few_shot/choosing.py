"""Which learner answers: the one that was best on examples held out of the given ones, again and again."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fphi.few_shot.heads import Head
from fphi.run.meta.confidence import best_temperature, calibration_error, mean_loss

__all__ = ["Held", "Trial", "best_of", "held_out", "try_head"]

_FOLDS = 5
_ANSWERS = 200
"""Held-out answers that are aimed at: splits are repeated until there are so many, or eight times."""
_REPEATS = 8

Held = tuple[NDArray[np.int64], NDArray[np.int64]]
"""The rows that are learned from, and those that are asked then."""


@dataclass(frozen=True)
class Trial:
    """What a learner answered to examples that it had not learned from.

    Args:
        logits: of each answer ``[m, classes]``.
        labels: the right ones ``[m]``.
        examples: how many different ones were asked.
    """

    logits: Tensor
    labels: NDArray[np.int64]
    examples: int

    @cached_property
    def right(self) -> NDArray[np.bool_]:
        """Whether each answer was ``[m]``."""
        right: NDArray[np.bool_] = self.logits.argmax(1).numpy() == self.labels
        return right

    @cached_property
    def accuracy(self) -> float:
        """The share of right answers."""
        return float(self.right.mean())

    @cached_property
    def temperature(self) -> float:
        """By which logits are divided, to be as sure as they are right."""
        return best_temperature(self.logits, self.labels, self.examples)

    @cached_property
    def loss(self) -> float:
        """Of the calibrated answers."""
        return mean_loss(self.logits, self.labels, self.temperature)

    @cached_property
    def calibration(self) -> float:
        """The error of the calibrated probabilities."""
        return calibration_error((self.logits / self.temperature).softmax(1).numpy(), self.labels)


def held_out(y: NDArray[np.int64], seed: int) -> list[Held]:
    """Splits of the examples, class by class into fifths; a class of one example is always learned from.

    Args:
        y: classes ``[n]`` from 0.
        seed: of the shuffles.

    Returns:
        Several times five splits, or fewer where no class has five examples; none if each has but one.
    """
    counts = np.bincount(y)
    folds = min(_FOLDS, int(counts.max()))
    if folds < 2:
        return []
    repeats = min(_REPEATS, math.ceil(_ANSWERS / int(counts[counts > 1].sum())))
    rng = np.random.default_rng(seed)
    return [held for _ in range(repeats) for held in _split(y, folds, rng)]


def _split(y: NDArray[np.int64], folds: int, rng: np.random.Generator) -> Iterator[Held]:
    fold = np.full(len(y), -1)
    for label in range(int(y.max()) + 1):
        rows = rng.permutation(np.flatnonzero(y == label))
        if len(rows) > 1:
            fold[rows] = (np.arange(len(rows)) + rng.integers(folds)) % folds
    for k in range(folds):
        if (fold == k).any():
            yield np.flatnonzero(fold != k), np.flatnonzero(fold == k)


def try_head(
    head: Head, x: Tensor, y: NDArray[np.int64], classes: int, unit: bool, splits: Sequence[Held]
) -> Trial:
    """Learn from each split's first rows and answer its others.

    Args:
        head: the learner.
        x: features ``[n, ...]``.
        y: classes ``[n]``.
        classes: how many there are.
        unit: see `Centred`.
        splits: at least one.

    Raises:
        FphiError: the learner cannot learn these.
    """
    logits, labels = [], []
    for learned, asked in splits:
        network = head.learn(x[torch.from_numpy(learned)], y[learned], classes, unit)
        with torch.no_grad():
            logits.append(network(x[torch.from_numpy(asked)]).double())
        labels.append(y[asked])
    different = len(np.unique(np.concatenate([asked for _, asked in splits])))
    return Trial(torch.cat(logits), np.concatenate(labels), different)


def best_of(trials: Mapping[str, Trial], preferred: Sequence[str] = ()) -> str:
    """The name that is right most often; of equals that whose calibrated answers have the smallest loss.

    Args:
        trials: on the same splits, by name.
        preferred: of which the best is taken, unless another is better by more than one standard error of
            the difference. That a learner is the best of many on few examples is chance as often as not.
    """

    def rank(name: str) -> tuple[float, float]:
        return -trials[name].accuracy, trials[name].loss

    best = min(trials, key=rank)
    if not preferred:
        return best
    usual = min(preferred, key=rank)
    ahead = trials[best].right.astype(float) - trials[usual].right
    error = ahead.std() / trials[best].examples ** 0.5
    return best if ahead.mean() > error else usual
