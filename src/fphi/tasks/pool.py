"""Images in memory, indexed by class."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fphi.errors import DataError

__all__ = ["ClassPool"]


@dataclass(frozen=True, eq=False)
class ClassPool:
    """Images of many classes, decoded once; subsets and rotations share the images.

    Attributes:
        images: uint8 [n, C, H, W], the images of a class one after the other.
        starts: int64 [classes], the first image of each class.
        sizes: int64 [classes], how many images each class has (they may differ).
        names: one name per class, such as "Greek/character07".
        groups: one group per class, such as its alphabet.
        turns: int64 [classes], what makes the class from its images: 0 to 3 are quarter turns
            counter-clockwise, 4 to 7 the same of the mirror image (left and right exchanged).
        notes: what a user should know of how the images were read, a plain line each.
    """

    images: NDArray[np.uint8]
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    names: tuple[str, ...]
    groups: tuple[str, ...]
    turns: NDArray[np.int64]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim != 4:
            raise ValueError(
                f"images must be uint8 [n, C, H, W], not {self.images.dtype} {self.images.shape}"
            )
        if any(a.dtype.kind not in "iu" for a in (self.starts, self.sizes, self.turns)):
            raise ValueError("starts, sizes and turns must be whole numbers")
        lengths = {len(a) for a in (self.starts, self.sizes, self.names, self.groups, self.turns)}
        if len(lengths) != 1:
            raise ValueError(
                f"one start, size, name, group and turn per class, not {sorted(lengths)} of them"
            )
        if len(self.starts) and (
            min(self.starts.min(), self.sizes.min()) < 0
            or max(self.starts.max(), self.sizes.max(), (self.starts + self.sizes).max()) > len(self.images)
        ):
            raise ValueError("a class reaches beyond the first or the last image")
        if len(self.turns) and not 0 <= self.turns.min() <= self.turns.max() < 8:
            raise ValueError("turns go from 0 to 7")

    @classmethod
    def from_classes(
        cls,
        arrays: Sequence[NDArray[np.uint8]],
        names: Sequence[str],
        groups: Sequence[str],
        notes: Sequence[str] = (),
    ) -> "ClassPool":
        """Build a pool from one array [size, C, H, W] per class."""
        if not arrays:
            raise DataError("no classes: a pool needs at least one class with images")
        sizes = np.array([len(a) for a in arrays], dtype=np.int64)
        return cls(
            images=np.concatenate(arrays),
            starts=np.cumsum(sizes) - sizes,
            sizes=sizes,
            names=tuple(names),
            groups=tuple(groups),
            turns=np.zeros(len(sizes), dtype=np.int64),
            notes=tuple(notes),
        )

    def __len__(self) -> int:
        """The number of classes."""
        return len(self.starts)

    @property
    def counts(self) -> dict[str, int]:
        """How many groups, classes and images there are; an image counts once per class that it is in."""
        return {"groups": len(set(self.groups)), "classes": len(self), "images": int(self.sizes.sum())}

    def subset(self, class_ids: Iterable[int]) -> "ClassPool":
        """Return the pool of these classes, in this order, over the same images."""
        ids = np.fromiter(class_ids, dtype=np.int64)
        return replace(
            self,
            starts=self.starts[ids],
            sizes=self.sizes[ids],
            names=tuple(self.names[i] for i in ids),
            groups=tuple(self.groups[i] for i in ids),
            turns=self.turns[ids],
        )

    def joined(self, other: "ClassPool") -> "ClassPool":
        """Return the pool of these classes, then those of ``other``, which is over the same images."""
        if other.images is not self.images:
            raise ValueError("only pools over the same images can be joined")
        return replace(
            self,
            starts=np.concatenate([self.starts, other.starts]),
            sizes=np.concatenate([self.sizes, other.sizes]),
            names=self.names + other.names,
            groups=self.groups + other.groups,
            turns=np.concatenate([self.turns, other.turns]),
        )

    def drawings(self, first: int, count: int) -> "ClassPool":
        """Return the pool with images ``first … first+count-1`` of each class: those of some drawers.

        Raises:
            DataError: if a class has fewer images.
        """
        if len(self) and self.sizes.min() < first + count:
            c = int(np.argmin(self.sizes))
            raise DataError(
                f"class {self.names[c]!r} has {self.sizes[c]} images; {first + count} drawers are asked for"
            )
        return replace(self, starts=self.starts + first, sizes=np.full_like(self.sizes, count))

    def with_rotations(self, mirrored: bool = False) -> "ClassPool":
        """Return the pool with the rotations by 0, 90, 180 and 270 degrees as classes of their own.

        Class c of the result is class c // 4 of this pool, turned by c % 4 quarter turns; no image is copied.
        With ``mirrored`` there are eight of each, the second four of its mirror image: c // 8 and c % 8.
        """
        each = 8 if mirrored else 4
        many = self.subset(np.repeat(np.arange(len(self)), each))
        turn = np.tile(np.arange(each), len(self))
        mirror, quarter = turn // 4, turn % 4
        # The mirror image of a turned image is turned the other way.
        turned = (np.where(mirror, -many.turns, many.turns) + quarter) % 4
        names = tuple(
            f"{name}/{'mirror' * m}rot{90 * q:03d}"
            for name, m, q in zip(many.names, mirror, quarter, strict=True)
        )
        return replace(many, names=names, turns=turned + 4 * (many.turns // 4 ^ mirror))
