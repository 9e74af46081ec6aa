"""Images with their classes, before they are divided into what is trained on and what is not."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fphi.errors import DataError

__all__ = ["Labelled", "balanced_order", "moments", "only_classes"]


class Labelled(NamedTuple):
    """Images uint8 ``[n, C, H, W]`` and their classes int64 ``[n]``.

    ``rows`` int64 ``[n]`` is where they stand in what was read; None: they are all of it. ``files`` are the
    names of all that was read, in that order, where each is a file of its own.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    notes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    rows: NDArray[np.int64] | None = None
    files: tuple[str, ...] = ()

    def taken(self, kept: NDArray[np.int64]) -> "Labelled":
        """Some of them."""
        rows = kept if self.rows is None else self.rows[kept]
        return self._replace(images=self.images[kept], labels=self.labels[kept], rows=rows)


def only_classes(data: Labelled, classes: Sequence[int], name: str) -> Labelled:
    """Some of the classes, numbered in the order in which they are named."""
    there = int(data.labels.max()) + 1
    if len(set(classes)) < max(2, len(classes)) or not all(0 <= k < there for k in classes):
        raise DataError(
            f"classes {', '.join(map(str, classes))} of {name}: give at least two different ones of its "
            f"{there}, by their numbers from 0"
        )
    numbers = np.full(there, -1)
    numbers[list(classes)] = np.arange(len(classes))
    some = data.taken(np.flatnonzero(numbers[data.labels] >= 0))
    names = tuple(data.names[k] for k in classes) if data.names else ()
    return some._replace(labels=numbers[some.labels], names=names)


def moments(images: NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
    """Mean and deviation ``[C, 1, 1]`` of each channel; the deviation of a channel of one value is 1."""
    values = np.arange(256)
    shares = np.stack([np.bincount(c.ravel(), minlength=256) / c.size for c in np.moveaxis(images, 1, 0)])
    mean = shares @ values
    deviation = np.sqrt((shares * (values - mean[:, None]) ** 2).sum(1))
    deviation[deviation == 0] = 1
    return torch.from_numpy(mean).float()[:, None, None], torch.from_numpy(deviation).float()[:, None, None]


def balanced_order(labels: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """A permutation in which the classes take turns, in a new order each round, until they run out."""
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    sizes = np.bincount(labels)
    # The turn of each example of by_class, and a random place within the turn.
    turns = np.concatenate([np.arange(size) for size in sizes])
    return by_class[np.lexsort((rng.random(len(labels)), turns))]
