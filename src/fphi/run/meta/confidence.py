"""How sure answers may be: calibration, and telling what is known from what is not."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["best_temperature", "binned_error", "calibration_error", "mean_loss", "separation", "threshold_at"]


def mean_loss(
    logits: Tensor, labels: NDArray[np.int64], temperature: float = 1.0, smoothing: float = 0.0
) -> float:
    """The mean negative log-likelihood of the labels ``[n]`` under ``logits / temperature``.

    A share ``smoothing`` of each label counts for all classes alike.
    """
    scaled = logits.double() / temperature
    return float(F.cross_entropy(scaled, torch.from_numpy(labels), label_smoothing=smoothing))


def best_temperature(logits: Tensor, labels: NDArray[np.int64], examples: int | None = None) -> float:
    """The number by which logits are divided so that their negative log-likelihood is least.

    Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks, ICML 2017. Between 1e-3 and 1e3.
    Of few examples that all were answered rightly it would be 0, and every answer certain: so a quarter of an
    example more counts, which is of each class alike.

    Args:
        logits: ``[n, classes]``.
        labels: the right classes ``[n]``.
        examples: how many different ones there are among these; None: all are.

    >>> bool(best_temperature(torch.tensor([[9.0, 0.0], [9.0, 0.0]]), np.array([0, 1])) > 100)
    True
    """
    smoothing = 0.25 / (1 + (examples or len(labels)))
    low, high = np.log(1e-3), np.log(1e3)
    for _ in range(4):  # a grid that narrows: the loss has one valley in the inverse temperature
        grid = np.linspace(low, high, 31)
        losses = [mean_loss(logits, labels, float(np.exp(g)), smoothing) for g in grid]
        at = int(np.argmin(losses))
        low, high = grid[max(at - 1, 0)], grid[min(at + 1, 30)]
    return float(np.exp((low + high) / 2))


def calibration_error(probabilities: NDArray[np.float64], labels: NDArray[np.int64], bins: int = 15) -> float:
    """By how much sureness and accuracy differ: the mean over equal bins of the largest probability.

    Args:
        probabilities: ``[n, classes]``.
        labels: the right classes ``[n]``.
        bins: of equal width; an answer counts in that of its largest probability.

    >>> calibration_error(np.array([[0.75, 0.25]] * 4), np.array([0, 0, 0, 1]))
    0.0
    """
    return binned_error(probabilities.max(1), (probabilities.argmax(1) == labels).astype(np.float64), bins)


def binned_error(sure: NDArray[np.float64], right: NDArray[np.float64], bins: int = 15) -> float:
    """The same of each answer's largest probability ``[n]``, and of 1 where it was right, else 0."""
    place = np.minimum((sure * bins).astype(int), bins - 1)
    off = np.bincount(place, right - sure, minlength=bins)
    return float(np.abs(off).sum() / len(sure))


def separation(known: NDArray[np.float64], unknown: NDArray[np.float64]) -> float:
    """AUROC: how often an example of a known class looks more known than one of no known class.

    >>> separation(np.array([2.0, 3.0]), np.array([1.0, 2.0]))
    0.875
    """
    order = np.sort(unknown)
    below = np.searchsorted(order, known, "left") + np.searchsorted(order, known, "right")
    return float(below.mean() / (2 * len(unknown)))


def threshold_at(known: NDArray[np.float64], refused: float) -> float:
    """The familiarity below which this share of examples of known classes lies."""
    return float(np.quantile(known, refused))
