"""Cross-entropy of classes under vmap, without what torch loads for it."""

import torch
from torch import Tensor

__all__ = ["IGNORED", "mapped_cross_entropy", "of_classes"]

IGNORED = -100
"""The label that torch's cross-entropy leaves out."""


def of_classes(answers: Tensor, targets: Tensor) -> bool:
    """Whether targets ``[n]`` are classes, one for each row of answers ``[n, classes]``."""
    return not targets.is_floating_point() and answers.dim() == 2 and answers.shape[:1] == targets.shape


def mapped_cross_entropy(answers: Tensor, targets: Tensor) -> Tensor:
    """The bits of ``torch.nn.functional.cross_entropy`` within ``vmap``.

    Torch computes the same there, but first loads the symbols of its compiler, which takes most of a second.
    """
    counted = targets != IGNORED
    classes = torch.where(counted, targets, 0)[:, None]
    losses = -answers.log_softmax(1).gather(1, classes)[:, 0]
    return torch.where(counted, losses, 0).sum() / counted.sum().to(losses)
