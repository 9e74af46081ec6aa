"""Cleaning labels before training: what learned weights have to beat.

Confident learning: Northcutt, Jiang, Chuang, JAIR 2021, arXiv 1911.00068.
"""

import torch
from torch import Tensor

from fphi.errors import FphiError

__all__ = ["auroc", "confident_issues", "doubted_labels"]


def confident_issues(probabilities: Tensor, y: Tensor) -> Tensor:
    """Which labels are to be doubted, bool ``[n]``.

    A class's threshold is the mean probability of that class over the examples labelled so. An example whose
    most probable class, among those that reach their thresholds, is another than its label is doubted.

    Args:
        probabilities: ``[n, classes]``, of models that were not trained on the example (out of fold).
        y: the labels ``[n]``.

    Raises:
        FphiError: these are no such tensors, the shapes do not fit, or a label is no class.

    >>> p = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.3, 0.7]])
    >>> confident_issues(p, torch.tensor([0, 1, 1, 1]))  # thresholds 0.9 and 0.6: the second reaches none
    tensor([False, False, False, False])
    >>> confident_issues(p, torch.tensor([0, 0, 1, 0]))  # 0.667 and 0.9
    tensor([False, False, False, False])
    >>> confident_issues(p, torch.tensor([0, 0, 0, 1]))  # 0.6 and 0.7: the third is confidently another
    tensor([False, False,  True, False])
    """
    thresholds, counts = _thresholds(probabilities, y)
    # No example is confidently of a class that nothing is labelled.
    reaches = (probabilities >= thresholds) & (counts > 0)
    likeliest = probabilities.where(reaches, -1.0).argmax(1)
    return reaches.any(1) & (likeliest != y)


def doubted_labels(probabilities: Tensor, y: Tensor) -> Tensor:
    """Which labels are doubted by a training that they were part of, bool ``[n]``.

    Those of examples that are unlike their class and like another, which is more probable, too: the label has
    at most half of the probability that it has for the examples labelled so, on average, the other at least
    half of its own. Measured by these averages, labels are not doubted because the model knows little yet.

    Args:
        probabilities: ``[n, classes]``, of a model in training; on average over it.
        y: the labels ``[n]``.

    Raises:
        FphiError: see `confident_issues`.

    >>> p = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8], [0.8, 0.2]])
    >>> doubted_labels(p, torch.tensor([0, 0, 1, 1]))  # on average 0.9 and 0.5
    tensor([False, False, False,  True])
    >>> doubted_labels((p + 4) / 9, torch.tensor([0, 0, 1, 1]))  # nothing is known yet: 0.54 and 0.5
    tensor([False, False, False, False])
    """
    usual, counts = _thresholds(probabilities, y)
    label = probabilities.gather(1, y[:, None].long())
    unlike = label <= usual[y.long()][:, None] / 2
    return ((counts > 0) & unlike & (probabilities >= usual / 2) & (probabilities > label)).any(1)


def _thresholds(probabilities: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Of each class, its mean probability over the examples labelled so, and how many these are."""
    for name, given in (("probabilities", probabilities), ("y", y)):
        if not isinstance(given, Tensor):
            raise FphiError(f"{name} is a {type(given).__name__}; give a tensor")
    if (
        not probabilities.is_floating_point()
        or y.is_floating_point()
        or y.is_complex()
        or y.dtype == torch.bool
    ):
        raise FphiError(
            f"probabilities are {probabilities.dtype} and labels {y.dtype}; give floats, and whole numbers"
        )
    if probabilities.dim() != 2 or y.shape != probabilities.shape[:1]:
        raise FphiError(
            f"probabilities {list(probabilities.shape)} and labels {list(y.shape)} do not fit; "
            "give [n, classes] and [n]"
        )
    classes = probabilities.shape[1]
    if len(y) and not 0 <= int(y.min()) <= int(y.max()) < classes:
        raise FphiError(
            f"labels from {int(y.min())} to {int(y.max())} and probabilities of {classes} classes"
        )
    members = torch.nn.functional.one_hot(y.long(), classes).to(probabilities.dtype)
    counts = members.sum(0)
    thresholds = (members * probabilities).sum(0) / counts.clamp(min=1)
    return thresholds, counts


def auroc(scores: Tensor, positive: Tensor) -> float | None:
    """How often a positive example has a higher score than another one; equal scores count a half.

    Args:
        scores: ``[n]``.
        positive: bool ``[n]``.

    Returns:
        The area under the receiver operating characteristic; None where all are positive, or none is.

    >>> auroc(torch.tensor([0.9, 0.4, 0.4, 0.1]), torch.tensor([True, True, False, False]))
    0.875
    """
    first, count = int(positive.sum()), len(positive)
    if first in (0, count):
        return None
    _, places, sizes = torch.unique(scores, return_inverse=True, return_counts=True)
    ends = sizes.cumsum(0).double()
    ranks = ends - (sizes.double() - 1) / 2  # of equal scores the mean
    above = ranks[places[positive]].sum() - first * (first + 1) / 2
    return float(above) / (first * (count - first))
