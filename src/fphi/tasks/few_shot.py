"""N-way K-shot classification tasks drawn from class pools."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Self, TypeVar, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fphi.errors import DataError
from fphi.tasks.affine import Reduction, affine_copies, reduced
from fphi.tasks.distribution import TaskDistribution
from fphi.tasks.episodes import (
    DistortionDraw,
    Draw,
    EpisodeShape,
    EpisodeSplit,
    ExampleOrder,
    SplitRule,
    draw,
    draw_distortion,
    prepare,
)
from fphi.tasks.hashing import stream_key, task_indices
from fphi.tasks.pool import ClassPool
from fphi.tasks.reorder import reordered
from fphi.tasks.turns import turned
from fphi.tasks.types import Examples, Task

__all__ = ["Change", "FewShotTasks"]

T = TypeVar("T", bound=np.generic)

# Of the images [n, C, H, W] of one task, and a number that is the task's own: images of the same shape.
Change = Callable[[Tensor, int], Tensor]


class FewShotTasks(TaskDistribution):
    """Few-shot classification: N classes, K examples of each to learn from, Q of each to be tested on.

    The N classes come in a uniformly random order, and that order is the labels 0..N-1: a fresh
    permutation for each task, so that no head can memorise a class by its label. Sets list class by
    class unless the rule's ``order`` says otherwise. Support and query share no image. Images are float32 in
    [0, 1].

    Args:
        pools: the classes of each split.
        rules: how the tasks of each split are made; training may follow another rule than testing.
        seed: task i of a split is a function of (seed, split, i).
        image_size: pixels of a side of the tasks' images, where those of the pools are larger: these are
            reduced after they were distorted; None: as in the pools.
        image_reduction: "nearest": a pixel is the nearest of the larger image; "area": the mean over its
            area, in grey levels.
        invert: exchange ink and paper. Pools hold ink as 255, so by default ink is 1 and paper 0.
        protocol: name of the protocol that these choices make up.
        notes: see `TaskDistribution`; those of the pools are added.
        changes: see `TaskDistribution`.

    Raises:
        DataError: if a split has fewer classes than ways, or a class has too few images.

    >>> images = [np.full((3, 1, 4, 4), 9 * c, np.uint8) for c in range(6)]
    >>> pool = ClassPool.from_classes(images, names="abcdef", groups="gggggg")
    >>> rule = SplitRule(EpisodeShape(ways=5, shots=1, queries=2))
    >>> support, query = FewShotTasks({"train": pool}, {"train": rule}).batch("train", [0, 1, 2])
    >>> support.x.shape, query.y[0].tolist()
    (torch.Size([3, 5, 1, 4, 4]), [0, 0, 1, 1, 2, 2, 3, 3, 4, 4])
    """

    def __init__(
        self,
        pools: Mapping[str, ClassPool],
        rules: Mapping[str, SplitRule],
        *,
        seed: int = 0,
        image_size: int | None = None,
        image_reduction: Reduction = "nearest",
        invert: bool = False,
        protocol: str = "",
        notes: Sequence[str] = (),
        changes: Sequence[str] = (),
    ) -> None:
        self.seed = seed
        self.image_size = image_size
        self.image_reduction = image_reduction
        self.invert = invert
        self.protocol = protocol
        self.changes = tuple(changes)
        of_pools = (note for pool in pools.values() for note in pool.notes)
        self.notes = tuple(dict.fromkeys([*of_pools, *notes, *changes]))
        self.classes = {name: pool.names for name, pool in pools.items()}  # before they are turned
        _check_size(image_size, image_reduction, pools)
        self._change: Change | None = None
        self._splits = {name: prepare(name, pool, rules[name], seed) for name, pool in pools.items()}
        # Writable, in memory and in order, as torch wants them: mostly the arrays themselves.
        arrays = {
            id(pool.images): np.require(pool.images, requirements=["C", "W"]) for pool in pools.values()
        }
        self._images = {name: torch.from_numpy(arrays[id(pool.images)]) for name, pool in pools.items()}

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits."""
        return tuple(self._splits)

    def pool(self, split: str) -> ClassPool:
        """Return the classes of a split; with rotation "classes" or "mirrored", the turned ones too."""
        return self._split(split).pool

    def rule(self, split: str) -> SplitRule:
        """Return how the tasks of a split are made."""
        return self._split(split).rule

    def shape(self, split: str) -> EpisodeShape:
        """Return the ways, shots and queries of a split's episodes."""
        return self.rule(split).shape

    @property
    def ways(self) -> int:
        """Classes of a task of the last split, which is a test task where there are any."""
        return self.shape(self.splits[-1]).ways

    @property
    def shots(self) -> int:
        """Support examples of each of these classes."""
        return self.shape(self.splits[-1]).shots

    def count(self, split: str) -> int | None:
        """How many tasks a split has; None: any number."""
        fixed = self.rule(split).fixed
        return None if fixed is None else len(fixed.classes)

    def class_names(self, split: str, index: int) -> tuple[str, ...]:
        """Return the names of a task's classes, in the order of its labels."""
        part = self._split(split)
        return tuple(part.pool.names[c] for c in self.draw(split, [index]).classes[0])

    def on(self, device: torch.device) -> "FewShotTasks":
        """Return the same tasks, with the images kept and all pixels computed on this device."""
        moved = copy.copy(self)
        # Splits mostly share their images: those go there once.
        there = {id(part.pool.images): self._images[name].to(device) for name, part in self._splits.items()}
        moved._images = {name: there[id(part.pool.images)] for name, part in self._splits.items()}
        return moved

    def with_training_images(self, change: Change) -> Self:
        """Return the same tasks, but for what is done to the images of training tasks.

        Args:
            change: of the images of one task, support set and queries, the last thing that is done to them.
        """
        changed = copy.copy(self)
        changed._change = change
        return changed

    def in_order(self, order: ExampleOrder) -> Self:
        """Return the same tasks, in whose training examples come in this order; see `fphi.tasks.shuffled`."""
        changed = copy.copy(self)
        changed._splits = {
            name: replace(part, rule=replace(part.rule, order=order if name == "train" else "shuffled"))
            if part.rule.order == "classes"
            else part
            for name, part in self._splits.items()
        }
        return changed

    def as_at_test(self, split: str) -> "FewShotTasks":
        """Return tasks of the classes of one split, made as those of the last split are.

        They have that size, and nothing of what makes training tasks special: no minibatches, and no classes
        or images that were turned or changed.

        Raises:
            DataError: there are too few classes or images for that.
        """
        pool, rule = self.pool(split), self.rule(self.splits[-1])
        upright = pool.subset(np.flatnonzero(pool.turns == 0))
        made = FewShotTasks.__new__(FewShotTasks)
        vars(made).update(vars(self))
        made._change = None
        made._splits = {split: prepare(split, upright, replace(rule, fixed=None), self.seed)}
        return made

    def draw(self, split: str, indices: Sequence[int]) -> Draw:
        """Choose classes, images and rotations of the episodes of these numbers."""
        return draw(self._split(split), task_indices(indices))

    def batch(self, split: str, indices: Sequence[int]) -> Task:
        """Return these episodes: support.x [B, N*K, C, H, W], support.y [B, N*K], query alike with Q."""
        part, index = self._split(split), task_indices(indices)
        shape = part.rule.shape
        drawn, shots = draw(part, index), shape.shots
        distortion = draw_distortion(part, index)

        def flat(array: NDArray[T]) -> NDArray[T]:
            """All shots, then all queries, so that both are made in one go."""
            each = (array[:, :, :shots], array[:, :, shots:])
            return np.concatenate([half.reshape(math.prod(half.shape[:3]), *half.shape[3:]) for half in each])

        turns = np.broadcast_to(drawn.turns[..., None], drawn.images.shape)
        numbers = DistortionDraw(*map(flat, distortion))
        x = self._pixels(self._images[split], flat(drawn.images), flat(turns), numbers)
        of_class = shots, shape.queries
        halves = torch.split(x, [len(index) * shape.ways * count for count in of_class])
        task = Task(
            *(
                _class_major(half, len(index), shape.ways, count)
                for half, count in zip(halves, of_class, strict=True)
            )
        )
        ordered = reordered(task, part.rule.order, part.keys["order"], index)
        return self._changed(split, index, ordered)

    def _changed(self, split: str, index: NDArray[np.int64], task: Task) -> Task:
        """With the images of training tasks as they are to be; see `with_training_images`."""
        if self._change is None or split != "train":
            return task
        rows = task.support.y.shape[1]
        whole = torch.cat([task.support.x, task.query.x], 1)
        keys = [int(stream_key(self.seed, split, "change", str(i))) for i in index.tolist()]
        x = torch.stack([self._change(images, key) for images, key in zip(whole, keys, strict=True)])
        return Task(Examples(x[:, :rows], task.support.y), Examples(x[:, rows:], task.query.y))

    def _pixels(
        self,
        pixels: Tensor,
        images: NDArray[np.int64],
        turns: NDArray[np.int64],
        distortion: DistortionDraw,
    ) -> Tensor:
        """Images [n] of a pool as float32 [n, C, H, W], each turned and distorted as its own numbers say."""
        pixels = _taken_turned(pixels, images, turns)
        if self.image_size is not None and not distortion.maps.size:
            pixels = reduced(pixels, self.image_size, self.image_reduction)
        x = (255 - pixels if self.invert else pixels).to(torch.float32).div_(255)
        if distortion.maps.size:
            paper = float(self.invert)
            maps, bends = (torch.from_numpy(u).to(x.dtype).to(x.device) for u in distortion)
            bend = bends if bends.numel() else None
            x = affine_copies(x - paper, maps, self.image_size, self.image_reduction, bend) + paper
        return x

    def _split(self, split: str) -> EpisodeSplit:
        if not isinstance(split, str) or split not in self._splits:
            raise DataError(f"there is no split {split!r} here; there are: {', '.join(self._splits)}")
        return self._splits[split]


def _check_size(size: int | None, reduction: Reduction, pools: Mapping[str, ClassPool]) -> None:
    if reduction not in get_args(Reduction):
        raise DataError(f"image reduction {reduction!r} is none of {', '.join(get_args(Reduction))}")
    most = min((min(pool.images.shape[-2:]) for pool in pools.values()), default=0)
    if size is not None and not 1 <= size <= most:
        raise DataError(f"image size {size}: these images have {most} pixels a side; ask for 1 to {most}")


def _class_major(x: Tensor, tasks: int, ways: int, each: int) -> Examples:
    labels = torch.arange(ways, device=x.device).repeat_interleave(each).repeat(tasks, 1)
    return Examples(x.view(tasks, ways * each, *x.shape[1:]), labels)


def _taken_turned(pixels: Tensor, images: NDArray[np.int64], turns: NDArray[np.int64]) -> Tensor:
    """The images at these places of [n, C, H, W], the i-th turned as turns[i] says (see ``ClassPool``)."""

    def taken(of: Tensor, places: NDArray[np.int64]) -> Tensor:
        return of.index_select(0, torch.from_numpy(places).to(of.device))

    if not turns.any():
        return taken(pixels, images)
    # All of one turn are turned at once, and then brought back into order.
    order = np.argsort(turns, kind="stable")
    groups = torch.split(taken(pixels, images[order]), np.bincount(turns, minlength=8).tolist())
    joined = torch.cat([turned(group, turn) for turn, group in enumerate(groups)])
    return taken(joined, np.argsort(order, kind="stable"))
