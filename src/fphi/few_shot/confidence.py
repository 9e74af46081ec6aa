"""How sure an answer may be, and when it should be none: calibration, and examples of no known class."""

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fphi.few_shot.heads import Centred

__all__ = [
    "Familiarity",
    "best_temperature",
    "calibration_error",
    "familiarity",
    "mean_loss",
    "separation",
    "threshold_at",
]

Familiarity = Literal["probability", "energy", "nearness"]
"""How known an example looks: its largest probability, the log of the summed exponentials of its logits,
or minus the distance of its features to the nearest example's."""


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
    sure = probabilities.max(1)
    right = probabilities.argmax(1) == labels
    place = np.minimum((sure * bins).astype(int), bins - 1)
    off = np.bincount(place, right - sure, minlength=bins)
    return float(np.abs(off).sum() / len(labels))


def familiarity(
    kind: Familiarity, logits: Tensor, examples: Tensor, asked: Tensor, unit: bool
) -> NDArray[np.float64]:
    """How known each example looks ``[m]``, the more the larger.

    Args:
        kind: see `Familiarity`.
        logits: calibrated, of the examples that are asked ``[m, classes]``.
        examples: features of those that were learned from ``[n, d]``.
        asked: features of those that are asked ``[m, d]``.
        unit: see `Centred`.
    """
    if kind == "probability":
        score = logits.softmax(1).amax(1)
    elif kind == "energy":
        score = logits.logsumexp(1)
    else:
        centred = Centred.of(examples, unit)
        known = centred(examples)
        parts = [-torch.cdist(part, known).amin(1) for part in torch.split(centred(asked), 256)]
        score = torch.cat(parts)
    found: NDArray[np.float64] = score.double().numpy()
    return found


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
