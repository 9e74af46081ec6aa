"""Training without episodes: minibatches of the images of all training classes, whose labels are of all."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from fphi.errors import DataError
from fphi.ranges import checked
from fphi.tasks.episodes import (
    Distortion,
    DistortionDraw,
    Draw,
    EpisodeShape,
    EpisodeSplit,
    TrainingTasks,
    draw_distortion,
)
from fphi.tasks.few_shot import FewShotTasks
from fphi.tasks.hashing import permutation, task_indices
from fphi.tasks.pool import ClassPool
from fphi.tasks.types import Examples, Task

__all__ = ["Minibatches", "PooledTasks", "pooled"]


@dataclass(frozen=True)
class Minibatches(TrainingTasks):
    """Training tasks that are no episodes but minibatches of all training images: see `PooledTasks`.

    Args:
        size: images of a minibatch.
        turned: whether the turns of a protocol make classes of their own; else every image is as it is.
        views: how each of two copies of every image is distorted; None: an image is there once, distorted as
            the protocol has it.
    """

    ways: int | None = 1
    shots: int | None = 1
    queries: int | None = 1
    at_most: bool = True
    size: int = 160
    turned: bool = True
    views: Distortion | None = None


class PooledTasks(FewShotTasks):
    """Few-shot tasks whose training tasks are the usual minibatches of supervised training.

    All images of all training classes make a pass, in an order of its own, and task i is the next ``size`` of
    them: labels play no part in what is drawn. They number all training classes: where a protocol turns
    them, a turned class is one more class. The first half of a minibatch is the support set of its task, the
    second the query set. With ``views`` there are two distorted copies of each image, one in the support set,
    and one in the same place of the query set.

    Args:
        tasks: with a split "train".
        minibatches: of what size, and whether of two views.

    Raises:
        DataError: there are no two training images.

    >>> from fphi.tasks import Minibatches, load_tasks
    >>> tasks = load_tasks("hershey", train=Minibatches(size=64))
    >>> support, query = tasks.task("train", 0)
    >>> support.x.shape, tasks.pooled_classes
    (torch.Size([32, 1, 28, 28]), 917)
    """

    @checked()
    def __init__(self, tasks: FewShotTasks, minibatches: Minibatches) -> None:
        vars(self).update(vars(tasks))
        part = self._split("train")
        self._pool = _with_turns(part) if minibatches.turned else _as_they_are(part.pool)
        images = int(self._pool.sizes.sum())
        if images < 2:
            raise DataError(f"there are {images} training images, and a minibatch needs 2; give more")
        self.minibatches = replace(minibatches, size=min(minibatches.size, images))
        if images < minibatches.size:
            self.notes += (f"minibatches have {images} images instead of {minibatches.size}, all there are",)
        # Numbers for two copies of each image.
        kind = part.rule.distortion if minibatches.views is None else minibatches.views
        shape = EpisodeShape(self.minibatches.size, 1, 1)
        self._distorted = replace(part, rule=replace(part.rule, shape=shape, distortion=kind))

    @property
    def pooled_classes(self) -> int:
        """Training classes, as the labels number them."""
        return len(self._pool)

    def class_names(self, split: str, index: int) -> tuple[str, ...]:
        """Return the names of a task's classes; in training those of all classes."""
        return self._pool.names if split == "train" else super().class_names(split, index)

    def draw(self, split: str, indices: Sequence[int]) -> Draw:
        """Choose classes, images and rotations; of a minibatch as many classes as it has images."""
        if split != "train":
            return super().draw(split, indices)
        pool, size = self._pool, self.minibatches.size
        places = np.stack([self._places(int(i) * size, size) for i in task_indices(indices)])
        ends = pool.sizes.cumsum()
        classes = np.searchsorted(ends, places, side="right")
        images = pool.starts[classes] + places - (ends - pool.sizes)[classes]
        return Draw(classes, images[..., None], pool.turns[classes])

    def batch(self, split: str, indices: Sequence[int]) -> Task:
        """Return these tasks; in training support and query are [B, size/2, …], with views [B, size, …]."""
        if split != "train" or not len(indices):
            return super().batch(split, indices)
        drawn, copies = self.draw(split, indices), 1 if self.minibatches.views is None else 2
        shape = *drawn.classes.shape, copies
        numbers = draw_distortion(self._distorted, task_indices(indices))
        pixels = self._pixels(
            self._images[split],
            np.broadcast_to(drawn.images, shape).flatten(),
            np.broadcast_to(drawn.turns[..., None], shape).flatten(),
            DistortionDraw(*(_flat(u[:, :, :copies]) for u in numbers)),
        )
        x = pixels.view(*shape, *pixels.shape[1:])
        y = torch.from_numpy(drawn.classes).to(x.device)
        if copies == 2:
            task = Task(Examples(x[:, :, 0].contiguous(), y), Examples(x[:, :, 1].contiguous(), y))
        else:
            half = shape[1] // 2
            task = Task(*(Examples(x[:, part, 0], y[:, part]) for part in (slice(half), slice(half, None))))
        return self._changed(split, task_indices(indices), task)

    def _places(self, start: int, count: int) -> NDArray[np.int64]:
        """Among all images, those from ``start`` on in the passes over them, end to end."""
        images = int(self._pool.sizes.sum())
        first, last = start // images, (start + count - 1) // images
        passes = [_order(images, self.seed, number) for number in range(first, last + 1)]
        return np.concatenate(passes)[start - first * images :][:count]


def pooled(tasks: FewShotTasks, train: TrainingTasks) -> FewShotTasks:
    """The same tasks; with minibatches in training where these are asked for."""
    if not isinstance(train, Minibatches) or "train" not in tasks.splits:
        return tasks
    return PooledTasks(tasks, train)


@lru_cache(maxsize=4)
def _order(images: int, seed: int, number: int) -> NDArray[np.int64]:
    return permutation(images, seed, "train", "minibatches", str(number))


def _with_turns(part: EpisodeSplit) -> ClassPool:
    """The classes that training tells apart; what is turned already stays as it is."""
    drawn = part.rule.rotation in ("class", "episode")
    return part.pool.with_rotations() if drawn and not part.pool.turns.any() else part.pool


def _as_they_are(pool: ClassPool) -> ClassPool:
    return replace(pool, turns=np.zeros_like(pool.turns))


def _flat(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """``[B, n, copies, k]`` to ``[B * n * copies, k]``, where k may be 0."""
    return numbers.reshape(math.prod(numbers.shape[:-1]), numbers.shape[-1])
