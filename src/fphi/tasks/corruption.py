"""Wrong labels and rare classes, put into the training examples of a large task; pure functions of a seed.

As in the experiments of Meta-Weight-Net (arXiv 1902.07379). The validation examples stay as they are: they
are the clean set, balanced, and none of them is among the training examples.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fphi.errors import DataError
from fphi.ranges import SEED, Range, checked
from fphi.tasks.supervised import Supervised
from fphi.tasks.types import Examples

__all__ = [
    "Corrupted",
    "Noise",
    "corrupted",
    "flip2_noise",
    "flip_noise",
    "long_tail_counts",
    "noisy_labels",
    "uniform_noise",
]

Noise = Literal["none", "uniform", "flip", "flip2"]

_SHARE = Range(0, 1)


class Corrupted(NamedTuple):
    """A large task whose training labels are not all right.

    Attributes:
        data: ``train`` as it is given to learners; ``validation`` the clean set.
        truth: the right labels of ``train``, int64 ``[n]``, which no learner sees.
    """

    data: Supervised
    truth: Tensor

    @property
    def wrong(self) -> Tensor:
        """Which training labels are wrong, bool ``[n]``."""
        return self.data.train.y != self.truth


@checked(share=_SHARE)
def uniform_noise(classes: int, share: float) -> Tensor:
    """With probability ``share`` the label is any class, the right one too: (1 - p) I + p / C.

    Row i, as in all of these, is the distribution of the labels of class i, float64 ``[C, C]``.

    >>> uniform_noise(10, 0.4)[0, :2].round(decimals=9).tolist()
    [0.64, 0.04]
    """
    return (1 - share) * torch.eye(classes, dtype=torch.float64) + share / classes


@checked(share=_SHARE, seed=SEED)
def flip_noise(classes: int, share: float, seed: int = 0) -> Tensor:
    """With probability ``share`` the label is another class, for each class a certain one."""
    return _to_others(classes, share, 1, seed)


@checked(share=_SHARE, seed=SEED)
def flip2_noise(classes: int, share: float, seed: int = 0) -> Tensor:
    """With probability ``share`` the label is one of two other classes, for each class certain ones."""
    return _to_others(classes, share, 2, seed)


def _to_others(classes: int, share: float, others: int, seed: int) -> Tensor:
    if classes <= others:
        raise DataError(f"labels of {classes} classes cannot flip to {others} others; take uniform noise")
    rng = np.random.default_rng([seed % 2**64, others])
    matrix = (1 - share) * torch.eye(classes, dtype=torch.float64)
    for row in range(classes):
        others_of_row = np.delete(np.arange(classes), row)
        matrix[row, rng.choice(others_of_row, others, replace=False)] = share / others
    return matrix


_MATRICES: dict[str, Callable[[int, float, int], Tensor]] = {
    "none": lambda classes, share, seed: uniform_noise(classes, 0.0),
    "uniform": lambda classes, share, seed: uniform_noise(classes, share),
    "flip": flip_noise,
    "flip2": flip2_noise,
}


@checked(seed=SEED)
def noisy_labels(y: Tensor, matrix: Tensor, seed: int = 0) -> Tensor:
    """Labels ``[n]`` drawn for each example from the row of its class.

    Raises:
        DataError: the rows are no probabilities, or there is none for a label.
    """
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise DataError(f"the noise has shape {list(matrix.shape)}; give a square matrix")
    rows = matrix.sum(1)
    if not (bool((matrix >= 0).all()) and torch.allclose(rows, torch.ones_like(rows))):
        raise DataError("a row of the noise is no distribution; give shares from 0 with a sum of 1")
    if len(y) and not 0 <= int(y.min()) <= int(y.max()) < len(matrix):
        raise DataError(f"labels from {int(y.min())} to {int(y.max())} and noise of {len(matrix)} classes")
    ends = matrix.double().cumsum(1)[:, :-1].numpy()
    drawn = np.random.default_rng([seed % 2**64, 3]).random(len(y))
    return torch.from_numpy((drawn[:, None] >= ends[y.cpu().numpy()]).sum(1)).to(y.device)


@checked(factor=Range(1))
def long_tail_counts(most: int, factor: float, classes: int) -> list[int]:
    """Examples of each class k: ``most`` · factor^(-k/(C-1)), the last one's a ``factor``-th of the first's.

    >>> long_tail_counts(5000, 100, 10)
    [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    """
    # What a power is short of a whole number by rounding is no example less.
    return [int(most / factor ** (k / max(1, classes - 1)) + 1e-9) for k in range(classes)]


@checked(share=_SHARE, imbalance=Range(1), seed=SEED)
def corrupted(
    data: Supervised,
    noise: Noise = "uniform",
    share: float = 0.4,
    imbalance: float = 1.0,
    seed: int = 0,
    counts: Sequence[int] | None = None,
) -> Corrupted:
    """The same task with worse training examples; validation and test examples are those of ``data``.

    Args:
        data: one problem; its validation examples are the clean set.
        noise: see `uniform_noise`, `flip_noise`, `flip2_noise`; "none": labels stay.
        share: of the labels that noise is put on; with uniform noise some of them stay right.
        imbalance: how many times as many examples the most frequent class has as the rarest one.
        seed: of which examples are left out, and which labels are wrong.
        counts: training examples of each class, in place of ``imbalance``.

    Raises:
        DataError: a class would have no example, or has fewer than it is to have.
    """
    rows = _long_tail(data, imbalance, seed) if counts is None else _counted(data, counts, seed)
    truth = data.train.y[rows]
    y = noisy_labels(truth, _MATRICES[noise](data.classes, share, seed), seed)
    there = None if data.rows is None else data.rows[rows]
    return Corrupted(data._replace(train=Examples(data.train.x[rows], y), rows=there), truth)


def _long_tail(data: Supervised, factor: float, seed: int) -> Tensor:
    """Which training examples stay, in their order."""
    y = data.train.y.numpy()
    if factor == 1:
        return torch.arange(len(y))
    there = np.bincount(y, minlength=data.classes)
    counts = long_tail_counts(int(there.min()), factor, data.classes)
    if min(counts) < 1:
        raise DataError(
            f"an imbalance of {factor:g} leaves a class of {data.name} without examples, since the smallest "
            f"has {there.min()}; choose a smaller one"
        )
    return _counted(data, counts, seed)


def _counted(data: Supervised, counts: Sequence[int], seed: int) -> Tensor:
    """Which training examples stay, so many of each class, in their order."""
    y = data.train.y.numpy()
    there = np.bincount(y, minlength=data.classes)
    if len(counts) != data.classes:
        raise DataError(
            f"counts of {len(counts)} classes, and {data.name} has {data.classes}; give one for each"
        )
    for k, count in enumerate(counts):
        if not 1 <= count <= there[k]:
            raise DataError(
                f"{count} training examples of class {k} of {data.name}: it has {there[k]}; "
                "ask for at least 1 and no more than that"
            )
    order = np.random.default_rng([seed % 2**64, 4]).permutation(len(y))
    kept = [order[y[order] == k][:count] for k, count in enumerate(counts)]
    return torch.from_numpy(np.sort(np.concatenate(kept)))
