"""What an episode is made of: its size, and the classes, images and rotations that its number decides."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from fphi.errors import DataError
from fphi.tasks.affine import NUMBERS_PER_BEND, NUMBERS_PER_MAP
from fphi.tasks.hashing import draw_distinct, stream_key, uniform
from fphi.tasks.pool import ClassPool

__all__ = [
    "Distortion",
    "DistortionDraw",
    "Draw",
    "EpisodeShape",
    "EpisodeSplit",
    "ExampleOrder",
    "Rotation",
    "SplitRule",
    "TrainingTasks",
    "counted",
    "draw",
    "draw_distortion",
    "group_sizes",
    "prepare",
]

Rotation = Literal["none", "class", "episode", "classes", "mirrored"]
ExampleOrder = Literal["classes", "shuffled", "stream"]
Distortion = Literal["none", "affine", "affine-twice", "affine-class", "elastic"]

_STREAMS = ("group", "ways", "images", "turns", "order", "distortion", "class distortion", "bends")
_ROTATED = {"classes": 4, "mirrored": 8}
"""Classes that one class becomes, where its rotations are classes of their own."""


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


@dataclass(frozen=True)
class TrainingTasks:
    """What a method asks of its training tasks; what it leaves open is decided elsewhere.

    Args:
        ways: classes of a task; None: as many as a test task has.
        shots: support examples of each class; None: as many as a test task has.
        queries: query examples of each class; None: the number that was asked for, or the protocol's.
        order: of the examples, where the protocol leaves it to the method.
        at_most: whether these numbers are upper bounds, because nobody asked for them: where the data have
            fewer classes or images, tasks are smaller. Otherwise such data are refused.
    """

    ways: int | None = None
    shots: int | None = None
    queries: int | None = None
    order: ExampleOrder = "classes"
    at_most: bool = False


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
class SplitRule:
    """How the tasks of one split are made from its classes.

    Args:
        shape: the size of an episode; training may use another than testing.
        rotation: "class" turns each class of a task by its own random multiple of 90 degrees, "episode"
            turns the whole task by one, "classes" makes the four rotations classes of their own (two of one
            character may then meet in an episode), and "mirrored" those of the mirror image too.
        order: "classes" lists a set class by class. "shuffled" puts the support set in random order, which
            learners that read it as a sequence need. "stream" shuffles support and query together: the
            query set is the end of one sequence, and not class-balanced.
        distortion: "affine" shows every image, each time, as a slightly turned, sheared, scaled and shifted
            copy. "affine-twice" distorts that copy once more. "affine-class" distorts all images of a class
            of the task alike first, then each by itself. "elastic" also bends the copy of "affine-class".
        within_group: whether all classes of a task come from one group (alphabet), chosen uniformly among
            those with enough classes.
        same_drawers: whether the classes of a task have their examples from the same places in their lists
            of images, which in Omniglot are the drawers: shot k of every class is by one person, query k by
            another.
        fixed: all tasks of the split, where these are published; then nothing depends on the seed.
    """

    shape: EpisodeShape
    rotation: Rotation = "none"
    order: ExampleOrder = "classes"
    distortion: Distortion = "none"
    within_group: bool = False
    same_drawers: bool = False
    fixed: Draw | None = None


@dataclass(frozen=True, eq=False)
class EpisodeSplit:
    """One split, ready to draw from.

    Attributes:
        pool: its classes; where rotations are classes of their own, those are among them.
        rule: how its tasks are made.
        members: int64 [classes], class ids group by group.
        group_starts: int64 [groups], where each group that is large enough begins in ``members``.
        group_sizes: int64 [groups], how many classes it has.
        keys: of the streams of random numbers, by name.
    """

    pool: ClassPool
    rule: SplitRule
    members: NDArray[np.int64]
    group_starts: NDArray[np.int64]
    group_sizes: NDArray[np.int64]
    keys: Mapping[str, np.uint64]


def prepare(name: str, pool: ClassPool, rule: SplitRule, seed: int) -> EpisodeSplit:
    """Check one split and make it ready to draw from.

    Raises:
        DataError: the rule does not fit the classes, with the name of the split.
    """
    _check_rule(name, rule)
    shape = rule.shape
    if rule.rotation in _ROTATED:
        if pool.turns.any():
            raise DataError(
                f"classes of split {name!r} are turned already; leave rotation {rule.rotation!r} out"
            )
        pool = pool.with_rotations(mirrored=rule.rotation == "mirrored")
    _check_images(name, pool, rule)
    members, starts, sizes = _groups(pool, rule.within_group)
    enough = sizes >= shape.ways
    if not enough.any():
        where = "its largest group has" if rule.within_group else "there are"
        raise DataError(
            f"{shape.ways} ways from split {name!r}: {where} only {max(sizes, default=0)} classes; "
            "ask for fewer ways, or give more classes"
        )
    keys = {stream: stream_key(seed, name, stream) for stream in _STREAMS}
    return EpisodeSplit(pool, rule, members, starts[enough], sizes[enough], keys)


def group_sizes(pool: ClassPool, rotation: Rotation, within_group: bool) -> NDArray[np.int64]:
    """How many classes a task can choose from, by group; one number where groups do not matter."""
    return _groups(pool, within_group)[2] * _ROTATED.get(rotation, 1)


def draw(part: EpisodeSplit, index: NDArray[np.int64]) -> Draw:
    """Choose classes, images and rotations of the episodes of these numbers."""
    fixed, shape = part.rule.fixed, part.rule.shape
    if fixed is not None:
        most = len(fixed.classes)
        if len(index) and index.max() >= most:
            raise DataError(f"there are {most} of these tasks, and no number {index.max()}; ask for {most}")
        return Draw(*(each[index] for each in fixed))
    classes = _draw_classes(part, index)
    choices = 1 if part.rule.same_drawers else shape.ways
    u = uniform(part.keys["images"], index, choices * shape.each)
    picks = draw_distinct(u.reshape(len(index), choices, shape.each), part.pool.sizes[classes])
    return Draw(classes, part.pool.starts[classes][..., None] + picks, _draw_turns(part, index, classes))


class DistortionDraw(NamedTuple):
    """The random numbers in [0, 1) that distort the images of a batch; no numbers: no distortion.

    Attributes:
        maps: float64 [B, N, K+Q, a multiple of NUMBERS_PER_MAP], for affine maps.
        bends: float64 [B, N, K+Q, NUMBERS_PER_BEND or 0], for moves of points of a net.
    """

    maps: NDArray[np.float64]
    bends: NDArray[np.float64]


def draw_distortion(part: EpisodeSplit, index: NDArray[np.int64]) -> DistortionDraw:
    """Choose how the images of the episodes of these numbers are distorted."""
    kind, shape = part.rule.distortion, part.rule.shape

    def numbers(stream: str, each: int, count: int) -> NDArray[np.float64]:
        u = uniform(part.keys[stream], index, shape.ways * each * count)
        return u.reshape(len(index), shape.ways, each, count)

    maps = numbers("distortion", shape.each, NUMBERS_PER_MAP * {"none": 0, "affine-twice": 2}.get(kind, 1))
    if kind in ("affine-class", "elastic"):
        of_class = numbers("class distortion", 1, NUMBERS_PER_MAP)
        maps = np.concatenate([np.broadcast_to(of_class, maps.shape), maps], -1)
    return DistortionDraw(maps, numbers("bends", shape.each, NUMBERS_PER_BEND if kind == "elastic" else 0))


def _check_rule(name: str, rule: SplitRule) -> None:
    for value, what, choices in (
        (rule.rotation, "rotation", Rotation),
        (rule.order, "order", ExampleOrder),
        (rule.distortion, "distortion", Distortion),
    ):
        if value not in get_args(choices):
            raise DataError(f"{what} {value!r} of split {name!r} is none of {', '.join(get_args(choices))}")
    size = rule.shape.ways, rule.shape.each
    if rule.fixed is not None and (rule.fixed.images.shape[1:] != size or rule.rotation != "none"):
        raise DataError(
            f"the given tasks of split {name!r} have images {rule.fixed.images.shape[1:]} and no rotation, "
            f"but {size} and rotation {rule.rotation!r} are asked for"
        )


def _check_images(name: str, pool: ClassPool, rule: SplitRule) -> None:
    shape = rule.shape
    if len(pool) and pool.sizes.min() < shape.each:
        c = int(np.argmin(pool.sizes))
        there = counted(pool.sizes[c], "image", "images")
        wanted = counted(shape.shots, "shot", "shots"), counted(shape.queries, "query", "queries")
        raise DataError(
            f"class {pool.names[c]!r} of split {name!r} has {there}, but {' + '.join(wanted)} need "
            f"{shape.each}: ask for fewer or remove the class"
        )
    height, width = pool.images.shape[-2:]
    if height != width and (rule.rotation != "none" or pool.turns.any()):
        raise DataError(f"images of {height}x{width} pixels cannot be rotated; use square images")
    if rule.same_drawers and len(set(pool.sizes.tolist())) > 1:
        raise DataError(
            f"split {name!r} has classes of {pool.sizes.min()} to {pool.sizes.max()} images: tasks by the "
            "same drawers need as many images, in the drawers' order, of every class"
        )


def counted(number: int, singular: str, plural: str) -> str:
    """A number of things in words.

    >>> counted(1, "query", "queries"), counted(3, "query", "queries")
    ('1 query', '3 queries')
    """
    return f"{number} {singular if number == 1 else plural}"


def _groups(
    pool: ClassPool, within_group: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Class ids group by group, and where in them each group begins and how many it has."""
    labels = np.array(pool.groups if within_group else [""] * len(pool))
    members = np.argsort(labels, kind="stable")
    _, starts, sizes = np.unique(labels[members], return_index=True, return_counts=True)
    return members, starts, sizes


def _draw_classes(part: EpisodeSplit, index: NDArray[np.int64]) -> NDArray[np.int64]:
    """Choose a group for each task, then its classes in random order: [B, N]."""
    group = (uniform(part.keys["group"], index, 1)[:, 0] * len(part.group_sizes)).astype(np.int64)
    picks = draw_distinct(uniform(part.keys["ways"], index, part.rule.shape.ways), part.group_sizes[group])
    return np.take(part.members, part.group_starts[group][:, None] + picks)


def _draw_turns(
    part: EpisodeSplit, index: NDArray[np.int64], classes: NDArray[np.int64]
) -> NDArray[np.int64]:
    fixed = part.pool.turns[classes]
    if part.rule.rotation not in ("class", "episode"):
        return fixed
    angles = 1 if part.rule.rotation == "episode" else part.rule.shape.ways
    turns = (uniform(part.keys["turns"], index, angles) * 4).astype(np.int64)
    return np.asarray(fixed // 4 * 4 + (fixed + turns) % 4, dtype=np.int64)
