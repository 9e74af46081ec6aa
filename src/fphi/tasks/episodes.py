"""What an episode is made of: its size, and the classes, images and rotations that its number decides."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from fphi.errors import DataError
from fphi.tasks.affine import BENDS, NUMBERS
from fphi.tasks.hashing import draw_distinct, stream_key, uniform
from fphi.tasks.pool import ClassPool

__all__ = [
    "Distortion",
    "Draw",
    "EpisodeShape",
    "EpisodeSplit",
    "Numbers",
    "Order",
    "Rotation",
    "draw",
    "draw_distortion",
    "prepare",
]

Rotation = Literal["none", "class", "episode", "classes", "mirrored"]
Order = Literal["classes", "shuffled", "stream"]
Distortion = Literal["none", "affine", "affine-twice", "affine-class", "elastic"]
T = TypeVar("T")

_STREAMS = ("group", "ways", "images", "turns", "order", "distortion", "class distortion", "bends")


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

    @property
    def each(self) -> int:
        """Images of a class, K + Q."""
        return self.shots + self.queries


class Draw(NamedTuple):
    """What a batch of episodes is made of, before any pixel is touched.

    Attributes:
        classes: int64 [B, N], class ids in the split's pool, in label order.
        images: int64 [B, N, K+Q], positions in the pool's images, the shots first.
        turns: int64 [B, N], quarter turns and mirror images, as in ``ClassPool``.
    """

    classes: NDArray[np.int64]
    images: NDArray[np.int64]
    turns: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class EpisodeSplit:
    """One split, ready to draw from. ``members`` lists class ids group by group; ``fixed``: all tasks."""

    pool: ClassPool
    shape: EpisodeShape
    rotation: Rotation
    order: Order
    distortion: Distortion
    same_drawers: bool
    members: NDArray[np.int64]
    group_starts: NDArray[np.int64]
    group_sizes: NDArray[np.int64]
    keys: Mapping[str, np.uint64]
    fixed: Draw | None = None


def prepare(
    name: str,
    pool: ClassPool,
    shape: EpisodeShape,
    seed: int,
    *,
    rotation: Rotation = "none",
    order: Order = "classes",
    distortion: Distortion = "none",
    within_group: bool = False,
    same_drawers: bool = False,
    fixed: Draw | None = None,
) -> EpisodeSplit:
    """Check one split and make it ready to draw from; for the arguments see ``FewShotTasks``."""
    for value, what, choices in (
        (rotation, "rotation", Rotation),
        (order, "order", Order),
        (distortion, "distortion", Distortion),
    ):
        if value not in get_args(choices):
            raise DataError(f"{what} {value!r} of split {name!r} is none of {', '.join(get_args(choices))}")
    if fixed is not None and (fixed.images.shape[1:] != (shape.ways, shape.each) or rotation != "none"):
        raise DataError(
            f"the given tasks of split {name!r} have images {fixed.images.shape[1:]} and no rotation, "
            f"but {(shape.ways, shape.each)} and rotation {rotation!r} are asked for"
        )
    if rotation in ("classes", "mirrored"):
        if pool.turns.any():
            raise DataError(f"classes of split {name!r} are turned already; leave rotation {rotation!r} out")
        pool, rotation = pool.with_rotations(mirrored=rotation == "mirrored"), "none"
    _check_images(name, pool, shape, turned=rotation != "none", same_drawers=same_drawers)
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
    keys = {stream: stream_key(seed, name, stream) for stream in _STREAMS}
    groups = members, starts[enough], sizes[enough]
    return EpisodeSplit(pool, shape, rotation, order, distortion, same_drawers, *groups, keys, fixed)


def draw(part: EpisodeSplit, index: NDArray[np.int64]) -> Draw:
    """Choose classes, images and rotations of the episodes of these numbers."""
    if part.fixed is not None:
        most = len(part.fixed.classes)
        if len(index) and index.max() >= most:
            raise DataError(f"there are {most} of these tasks, and no number {index.max()}; ask for {most}")
        return Draw(*(each[index] for each in part.fixed))
    classes = _draw_classes(part, index)
    choices = 1 if part.same_drawers else part.shape.ways
    u = uniform(part.keys["images"], index, choices * part.shape.each)
    picks = draw_distinct(u.reshape(len(index), choices, part.shape.each), part.pool.sizes[classes])
    return Draw(classes, part.pool.starts[classes][..., None] + picks, _draw_turns(part, index, classes))


class Numbers(NamedTuple):
    """The numbers in [0, 1) that the images of a batch are distorted by; no numbers are no distortion.

    Attributes:
        maps: float64 [B, N, K+Q, a multiple of NUMBERS], for affine maps.
        bends: float64 [B, N, K+Q, BENDS or 0], for moves of points of a net.
    """

    maps: NDArray[np.float64]
    bends: NDArray[np.float64]


def draw_distortion(part: EpisodeSplit, index: NDArray[np.int64]) -> Numbers:
    """Choose how the images of the episodes of these numbers are distorted."""
    kind, shape = part.distortion, part.shape

    def numbers(stream: str, each: int, count: int) -> NDArray[np.float64]:
        u = uniform(part.keys[stream], index, shape.ways * each * count)
        return u.reshape(len(index), shape.ways, each, count)

    maps = numbers("distortion", shape.each, NUMBERS * {"none": 0, "affine-twice": 2}.get(kind, 1))
    if kind in ("affine-class", "elastic"):
        of_class = numbers("class distortion", 1, NUMBERS)
        maps = np.concatenate([np.broadcast_to(of_class, maps.shape), maps], -1)
    return Numbers(maps, numbers("bends", shape.each, BENDS if kind == "elastic" else 0))


def _check_images(name: str, pool: ClassPool, shape: EpisodeShape, turned: bool, same_drawers: bool) -> None:
    if len(pool) and pool.sizes.min() < shape.each:
        c = int(np.argmin(pool.sizes))
        raise DataError(
            f"class {pool.names[c]!r} of split {name!r} has {pool.sizes[c]} images, but "
            f"{shape.shots} shots + {shape.queries} queries need {shape.each}: "
            "ask for fewer or remove the class"
        )
    height, width = pool.images.shape[-2:]
    if height != width and (turned or pool.turns.any()):
        raise DataError(f"images of {height}x{width} pixels cannot be rotated; use square images")
    if same_drawers and len(set(pool.sizes.tolist())) > 1:
        raise DataError(
            f"split {name!r} has classes of {pool.sizes.min()} to {pool.sizes.max()} images: tasks by the "
            "same drawers need as many images, in the drawers' order, of every class"
        )


def _draw_classes(part: EpisodeSplit, index: NDArray[np.int64]) -> NDArray[np.int64]:
    """Choose a group for each task, then its classes in random order: [B, N]."""
    group = (uniform(part.keys["group"], index, 1)[:, 0] * len(part.group_sizes)).astype(np.int64)
    picks = draw_distinct(uniform(part.keys["ways"], index, part.shape.ways), part.group_sizes[group])
    return np.take(part.members, part.group_starts[group][:, None] + picks)


def _draw_turns(
    part: EpisodeSplit, index: NDArray[np.int64], classes: NDArray[np.int64]
) -> NDArray[np.int64]:
    fixed = part.pool.turns[classes]
    if part.rotation == "none":
        return fixed
    angles = 1 if part.rotation == "episode" else part.shape.ways
    turns = (uniform(part.keys["turns"], index, angles) * 4).astype(np.int64)
    return np.asarray(fixed // 4 * 4 + (fixed + turns) % 4, dtype=np.int64)
