"""Ways to divide the classes of a pool into training, validation and test classes.

Random divisions permute classes in sorted order with a split seed of their own, so that a change of the
training seed never moves a class to another split.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fphi.errors import DataError
from fphi.tasks.hashing import permutation
from fphi.tasks.lake import LAKE_ALPHABETS
from fphi.tasks.omniglot import BACKGROUND, CHARACTERS
from fphi.tasks.pool import ClassPool

__all__ = [
    "FRACTIONS",
    "SPLITS",
    "background_evaluation",
    "background_without_five",
    "by_counts",
    "by_fraction",
    "by_group",
    "chosen",
    "drawers",
    "homework_15",
    "prototypical",
    "some_of",
]

SPLITS = ("train", "validation", "test")
FRACTIONS = (0.64, 0.16, 0.20)

_PROTOTYPICAL_TRAIN = 1200
_VALIDATION_ALPHABETS = frozenset({"Armenian", "Bengali", "Early_Aramaic", "Hebrew", "Mkhedruli_(Georgian)"})
_HOMEWORK_TRAIN = 3200

Pools = dict[str, ClassPool]


def by_counts(pool: ClassPool, counts: Sequence[int], split_seed: int) -> Pools:
    """Divide Omniglot's characters at random, ignoring alphabets; a count of 0 leaves its split out.

    One permutation serves all counts, and its last 423 characters are the test classes of all of them.
    """
    _require_omniglot(pool)
    return _cut(pool, permutation(len(pool), split_seed, "omniglot"), counts)


def by_fraction(pool: ClassPool, split_seed: int, fractions: Sequence[float] = FRACTIONS) -> Pools:
    """Divide any classes at random; every split gets at least two of them, or one where there are few.

    Raises:
        DataError: if there are fewer than three classes.
    """
    n = len(pool)
    if n < len(SPLITS):
        raise DataError(f"{n} classes cannot be divided into {', '.join(SPLITS)}; at least 3 are needed")
    least = 2 if n >= 2 * len(SPLITS) else 1  # fewer than two make no task
    validation = max(least, round(n * fractions[1]))
    test = max(least, round(n * fractions[2]))
    return _cut(pool, permutation(n, split_seed, "fraction"), (n - validation - test, validation, test))


def by_group(pool: ClassPool, split_of: Mapping[str, str]) -> Pools:
    """Give each class to the split that its group is listed under.

    Raises:
        DataError: if a group is not listed.
    """
    unknown = sorted(set(pool.groups) - set(split_of))
    if unknown:
        raise DataError(
            f"group {unknown[0]!r} belongs to no split; known groups: {', '.join(sorted(split_of))}"
        )
    pools = {
        split: pool.subset([c for c, group in enumerate(pool.groups) if split_of[group] == split])
        for split in SPLITS
    }
    return {split: part for split, part in pools.items() if len(part)}


def prototypical(pool: ClassPool) -> Pools:
    """Divide Omniglot as Prototypical Networks do: 1028 / 172 / 423 characters, fixed.

    The first 1,200 in sorted order are training and validation (five alphabets), the rest test; so
    Gurmukhi is cut, 01-41 to training and 42-45 to test.
    """
    _require_omniglot(pool)
    held_out = np.array([group in _VALIDATION_ALPHABETS for group in pool.groups])
    early = np.arange(CHARACTERS) < _PROTOTYPICAL_TRAIN
    sides = (early & ~held_out, early & held_out, ~early)
    return {s: pool.subset(np.flatnonzero(side)) for s, side in zip(SPLITS, sides, strict=True)}


def background_evaluation(pool: ClassPool) -> Pools:
    """Divide Omniglot as published: 964 background characters to train, 659 evaluation characters to test."""
    _require_omniglot(pool)
    return _cut(pool, np.arange(CHARACTERS), (BACKGROUND, 0, CHARACTERS - BACKGROUND))


def background_without_five(pool: ClassPool) -> Pools:
    """Divide as `background_evaluation`; five background alphabets, 172 characters, are for validation.

    They are the validation alphabets of Prototypical Networks.
    """
    published = background_evaluation(pool)
    background = published["train"]
    held_out = np.array([group in _VALIDATION_ALPHABETS for group in background.groups])
    return {
        "train": background.subset(np.flatnonzero(~held_out)),
        "validation": background.subset(np.flatnonzero(held_out)),
        "test": published["test"],
    }


def homework_15(pool: ClassPool, split_seed: int) -> Pools:
    """Divide the 3,856 rotated background classes 3200 / 656 at random; the 659 evaluation characters test.

    The rotations of one background character fall on both sides, so validation is optimistic. That leak
    is part of the protocol; the test characters are new.
    """
    published = background_evaluation(pool)
    turned = published["train"].with_rotations()
    order = permutation(len(turned), split_seed, "homework-15")
    pools = _cut(turned, order, (_HOMEWORK_TRAIN, len(turned) - _HOMEWORK_TRAIN, 0))
    return {**pools, "test": published["test"]}


def drawers(pool: ClassPool) -> Pools:
    """Divide Omniglot as the Siamese networks' paper does: by alphabet 30 / 10 / 10, by drawer 12 / 4 / 4.

    Training: the background alphabets. Test: the ten evaluation alphabets of Lake's one-shot trials, which
    the paper compares itself on; the other ten are for validation.
    """
    published = background_evaluation(pool)
    later = published["test"]
    tested = np.isin(later.groups, LAKE_ALPHABETS)
    return {
        "train": published["train"].drawings(0, 12),
        "validation": later.subset(np.flatnonzero(~tested)).drawings(12, 4),
        "test": later.subset(np.flatnonzero(tested)).drawings(16, 4),
    }


def chosen(pools: Pools, splits: Sequence[str]) -> Pools:
    """Return the pools of these splits alone."""
    for split in splits:
        if split not in pools:
            raise DataError(f"there is no split {split!r} here; there are: {', '.join(pools)}")
    return {split: pools[split] for split in splits}


def some_of(pool: ClassPool, count: int, split_seed: int) -> ClassPool:
    """Return ``count`` of the classes, by lot; those of a smaller count are among those of a larger one.

    Raises:
        DataError: there are fewer.
    """
    if count > len(pool):
        raise DataError(f"{count} training classes: there are {len(pool)}; ask for at most as many")
    return pool.subset(np.sort(permutation(len(pool), split_seed, "some classes")[:count]))


def _cut(pool: ClassPool, order: NDArray[np.int64], counts: Sequence[int]) -> Pools:
    ends = np.cumsum(counts)
    parts = zip(SPLITS, ends - counts, ends, strict=True)
    return {split: pool.subset(np.sort(order[start:end])) for split, start, end in parts if end > start}


def _require_omniglot(pool: ClassPool) -> None:
    if len(pool) != CHARACTERS or "Gurmukhi" not in pool.groups:
        raise DataError(
            f"this protocol divides the {CHARACTERS} characters of Omniglot, but the data have {len(pool)} "
            "classes; use the protocol 'fraction'"
        )
