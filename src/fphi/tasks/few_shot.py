"""N-way K-shot classification tasks drawn from class pools."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, TypeVar, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fphi.errors import DataError
from fphi.tasks.affine import NUMBERS, affine_copies, reduced
from fphi.tasks.distribution import TaskDistribution
from fphi.tasks.hashing import draw_distinct, stream_key, task_indices, uniform
from fphi.tasks.pool import ClassPool
from fphi.tasks.types import Examples, Task

__all__ = ["Distortion", "Draw", "EpisodeShape", "FewShotTasks", "Order", "Rotation"]

Rotation = Literal["none", "class", "episode", "classes"]
Order = Literal["classes", "shuffled", "stream"]
Distortion = Literal["none", "affine"]
T = TypeVar("T")


@dataclass(frozen=True)
class EpisodeShape:
    """The size of an episode: N ways, and per class K shots to learn from and Q queries to be tested on."""

    ways: int
    shots: int
    queries: int

    def __post_init__(self) -> None:
        for name, value in (("ways", self.ways), ("shots", self.shots), ("queries", self.queries)):
            if value < 1:
                raise DataError(f"{name} is {value}; an episode needs at least 1")


class Draw(NamedTuple):
    """What a batch of episodes is made of, before any pixel is touched.

    Attributes:
        classes: int64 [B, N], class ids in the split's pool, in label order.
        images: int64 [B, N, K+Q], positions in the pool's images, the shots first.
        turns: int64 [B, N], quarter turns counter-clockwise.
    """

    classes: NDArray[np.int64]
    images: NDArray[np.int64]
    turns: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class _Split:
    """One split, ready to draw from. ``members`` lists class ids group by group."""

    pool: ClassPool
    shape: EpisodeShape
    rotation: Rotation
    members: NDArray[np.int64]
    group_starts: NDArray[np.int64]
    group_sizes: NDArray[np.int64]
    keys: Mapping[str, np.uint64]
    order: Order = "classes"
    distortion: Distortion = "none"


class FewShotTasks(TaskDistribution):
    """Few-shot classification: N classes, K examples of each to learn from, Q of each to be tested on.

    The N classes come in a uniformly random order, and that order is the labels 0..N-1: a fresh
    permutation for each task, so that no head can memorise a class by its label. Sets are class-major
    unless ``order`` says otherwise. Support and query share no image. Images are float32 in [0, 1].

    Args:
        pools: the classes of each split.
        shapes: the episode size of each split; training may use other numbers than testing.
        seed: task i of a split is a function of (seed, split, i).
        rotation: for each split (default "none"): "class" turns each class of a task by its own random
            multiple of 90 degrees, "episode" turns the whole task by one, "classes" makes the four
            rotations classes of their own (two of one character may then meet in an episode).
        order: for each split (default "classes"): "shuffled" puts the support set in random order, which
            learners that read it as a sequence need; "stream" shuffles support and query together, so that
            the query set is the end of one online sequence, and not class-balanced.
        distortion: for each split (default "none"): "affine" shows every image, each time, as a slightly
            turned, sheared, scaled and shifted copy of its own.
        within_group: for each split (default False), whether all classes of a task come from one group
            (alphabet), chosen uniformly among those with enough classes.
        image_size: pixels of a side of the tasks' images, where those of the pools are larger: these are
            reduced by nearest neighbour, after they were distorted; None: as in the pools.
        invert: exchange ink and paper. Pools hold ink as 255, so by default ink is 1 and paper 0.
        protocol: name of the protocol that these choices make up.

    Raises:
        DataError: if a split has fewer classes than ways, or a class has too few images.

    >>> images = [np.full((3, 1, 4, 4), 9 * c, np.uint8) for c in range(6)]
    >>> pool = ClassPool.from_classes(images, names="abcdef", groups="gggggg")
    >>> tasks = FewShotTasks({"train": pool}, {"train": EpisodeShape(ways=5, shots=1, queries=2)})
    >>> support, query = tasks.batch("train", [0, 1, 2])
    >>> support.x.shape, query.y[0].tolist()
    (torch.Size([3, 5, 1, 4, 4]), [0, 0, 1, 1, 2, 2, 3, 3, 4, 4])
    """

    def __init__(
        self,
        pools: Mapping[str, ClassPool],
        shapes: Mapping[str, EpisodeShape],
        *,
        seed: int = 0,
        rotation: Mapping[str, Rotation] | None = None,
        order: Mapping[str, Order] | None = None,
        distortion: Mapping[str, Distortion] | None = None,
        within_group: Mapping[str, bool] | None = None,
        image_size: int | None = None,
        invert: bool = False,
        protocol: str = "",
    ) -> None:
        turning, ordering, distorting = rotation or {}, order or {}, distortion or {}
        grouped = within_group or {}
        self.seed = seed
        self.image_size = image_size
        self.invert = invert
        self.protocol = protocol
        _check_side(image_size, pools)
        self._splits = {
            name: replace(
                _prepare(
                    name, pools[name], shapes[name], turning.get(name, "none"), grouped.get(name, False), seed
                ),
                order=_one_of(Order, ordering.get(name, "classes"), "order", name),
                distortion=_one_of(Distortion, distorting.get(name, "none"), "distortion", name),
            )
            for name in pools
        }

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits."""
        return tuple(self._splits)

    def pool(self, split: str) -> ClassPool:
        """Return the classes of a split; with rotation "classes", the rotations are among them."""
        return self._split(split).pool

    def shape(self, split: str) -> EpisodeShape:
        """Return the ways, shots and queries of a split's episodes."""
        return self._split(split).shape

    def draw(self, split: str, indices: Sequence[int]) -> Draw:
        """Choose classes, images and rotations of the episodes of these numbers."""
        part, index = self._split(split), task_indices(indices)
        classes = _draw_classes(part, index)
        size = part.shape.shots + part.shape.queries
        u = uniform(part.keys["images"], index, part.shape.ways * size).reshape(
            len(index), part.shape.ways, size
        )
        images = part.pool.starts[classes][..., None] + draw_distinct(u, part.pool.sizes[classes])
        return Draw(classes, images, _draw_turns(part, index, classes))

    def batch(self, split: str, indices: Sequence[int]) -> Task:
        """Return these episodes: support.x [B, N*K, C, H, W], support.y [B, N*K], query alike with Q."""
        drawn, part = self.draw(split, indices), self._split(split)
        index = task_indices(indices)
        # No numbers to distort by: no distortion.
        numbers = NUMBERS if part.distortion == "affine" else 0
        each = part.shape.ways * (part.shape.shots + part.shape.queries)
        u = uniform(part.keys["distortion"], index, each * numbers)
        u = u.reshape(*drawn.images.shape, numbers)
        task = Task(
            *(
                self._examples(part.pool, drawn.images[:, :, rows], drawn.turns, u[:, :, rows])
                for rows in (slice(None, part.shape.shots), slice(part.shape.shots, None))
            )
        )
        return task if part.order == "classes" else _reorder(task, part, index)

    def _examples(
        self,
        pool: ClassPool,
        images: NDArray[np.int64],
        turns: NDArray[np.int64],
        distortion: NDArray[np.float64],
    ) -> Examples:
        batch, ways, each = images.shape
        pixels = np.take(pool.images, images.reshape(-1), axis=0)
        _turn_in_place(pixels, np.repeat(turns.reshape(-1), each))
        if self.image_size is not None and not distortion.size:
            pixels = reduced(pixels, self.image_size)
        if self.invert:
            np.subtract(255, pixels, out=pixels)
        x = torch.from_numpy(np.divide(pixels, np.float32(255), dtype=np.float32))
        if distortion.size:
            paper, u = float(self.invert), torch.from_numpy(distortion.reshape(len(x), -1))
            x = affine_copies(x - paper, u, self.image_size) + paper
        return Examples(x.view(batch, ways * each, *x.shape[1:]), _labels(batch, ways, each))

    def _split(self, split: str) -> _Split:
        if split not in self._splits:
            raise DataError(f"there is no split {split!r} here; there are: {', '.join(self._splits)}")
        return self._splits[split]


def _prepare(
    name: str, pool: ClassPool, shape: EpisodeShape, rotation: Rotation, within_group: bool, seed: int
) -> _Split:
    _one_of(Rotation, rotation, "rotation", name)
    if rotation == "classes":
        pool, rotation = pool.with_rotations(), "none"
    _check_images(name, pool, shape, turned=rotation != "none")
    labels = np.array(pool.groups if within_group else [""] * len(pool))
    members = np.argsort(labels, kind="stable")
    _, starts, sizes = np.unique(labels[members], return_index=True, return_counts=True)
    enough = sizes >= shape.ways
    if not enough.any():
        where = "its largest group has" if within_group else "there are"
        raise DataError(
            f"{shape.ways} ways from split {name!r}: {where} only {max(sizes, default=0)} classes; "
            "ask for fewer ways"
        )
    keys = {
        stream: stream_key(seed, name, stream)
        for stream in ("group", "ways", "images", "turns", "order", "distortion")
    }
    return _Split(pool, shape, rotation, members, starts[enough], sizes[enough], keys)


def _check_side(image_size: int | None, pools: Mapping[str, ClassPool]) -> None:
    most = min((min(pool.images.shape[-2:]) for pool in pools.values()), default=0)
    if image_size is not None and not 1 <= image_size <= most:
        raise DataError(
            f"image size {image_size}: these images have {most} pixels a side; ask for 1 to {most}"
        )


def _check_images(name: str, pool: ClassPool, shape: EpisodeShape, turned: bool) -> None:
    need = shape.shots + shape.queries
    if len(pool) and pool.sizes.min() < need:
        c = int(np.argmin(pool.sizes))
        raise DataError(
            f"class {pool.names[c]!r} of split {name!r} has {pool.sizes[c]} images, but "
            f"{shape.shots} shots + {shape.queries} queries need {need}: ask for fewer or remove the class"
        )
    height, width = pool.images.shape[-2:]
    if height != width and (turned or pool.turns.any()):
        raise DataError(f"images of {height}x{width} pixels cannot be rotated; use square images")


def _draw_classes(part: _Split, index: NDArray[np.int64]) -> NDArray[np.int64]:
    """Choose a group for each task, then its classes in random order: [B, N]."""
    group = (uniform(part.keys["group"], index, 1)[:, 0] * len(part.group_sizes)).astype(np.int64)
    picks = draw_distinct(uniform(part.keys["ways"], index, part.shape.ways), part.group_sizes[group])
    return np.take(part.members, part.group_starts[group][:, None] + picks)


def _draw_turns(part: _Split, index: NDArray[np.int64], classes: NDArray[np.int64]) -> NDArray[np.int64]:
    fixed = part.pool.turns[classes]
    if part.rotation == "none":
        return fixed
    angles = 1 if part.rotation == "episode" else part.shape.ways
    turns = (uniform(part.keys["turns"], index, angles) * 4).astype(np.int64)
    return np.asarray((fixed + turns) % 4, dtype=np.int64)


def _turn_in_place(pixels: NDArray[np.uint8], turns: NDArray[np.int64]) -> None:
    """Turn image i of [n, C, H, W] by turns[i] quarter turns counter-clockwise."""
    for quarter in (1, 2, 3):
        which = np.flatnonzero(turns == quarter)
        if len(which):
            pixels[which] = np.rot90(pixels[which], quarter, axes=(-2, -1))


def _one_of(choices: object, value: T, what: str, split: str) -> T:
    if value not in get_args(choices):
        raise DataError(f"{what} {value!r} of split {split!r} is none of {', '.join(get_args(choices))}")
    return value


def _reorder(task: Task, part: _Split, index: NDArray[np.int64]) -> Task:
    """The support set in random order, or in "stream" all examples, of which the last are the query set."""
    rows = task.support.y.shape[1]
    first = task.support if part.order == "shuffled" else _joined(task)
    places = np.argsort(uniform(part.keys["order"], index, first.y.shape[1]), kind="stable")
    at = torch.arange(len(index))[:, None], torch.from_numpy(places)
    x, y = first.x[at], first.y[at]
    if part.order == "shuffled":
        return Task(Examples(x, y), task.query)
    return Task(Examples(x[:, :rows], y[:, :rows]), Examples(x[:, rows:], y[:, rows:]))


def _joined(task: Task) -> Examples:
    return Examples(*(torch.cat(both, 1) for both in zip(*task, strict=True)))


def _labels(batch: int, ways: int, each: int) -> Tensor:
    return torch.arange(ways).repeat_interleave(each).repeat(batch, 1)
