"""Few-shot tasks over vectors that are there already: features of a frozen encoder, or rows of a table."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from fphi.errors import DataError
from fphi.ranges import SEED, checked
from fphi.tasks.distribution import TaskDistribution
from fphi.tasks.hashing import draw_distinct, stream_key, task_indices, uniform
from fphi.tasks.types import Examples, Task

__all__ = ["FeatureTasks"]


class FeatureTasks(TaskDistribution):
    """N-way K-shot classification of vectors, or of any arrays, whose classes are divided into splits.

    Args:
        splits: by name ("train", "validation", "test") examples ``[n, ...]`` and their classes ``[n]``,
            numbers or texts. No class may be in two splits.
        ways: classes of a task.
        shots: support examples of each.
        queries: query examples of each.
        seed: task i of a split is a function of (seed, split, i).
        protocol: the name that belongs beside every number.

    Raises:
        DataError: a split has too few classes with enough examples, or two have a class in common.

    >>> x, y = np.random.default_rng(0).normal(size=(60, 8)), np.repeat(np.arange(6), 10)
    >>> tasks = FeatureTasks({"train": (x, y)}, ways=5, shots=1, queries=3)
    >>> tasks.task("train", 0).support.x.shape
    torch.Size([5, 8])
    """

    @checked(seed=SEED)
    def __init__(
        self,
        splits: Mapping[str, tuple[ArrayLike, ArrayLike]],
        ways: int = 5,
        shots: int = 1,
        queries: int = 15,
        seed: int = 0,
        protocol: str = "features",
    ) -> None:
        if not splits:
            raise DataError("there is no split; give at least one, as {'train': (x, y)}")
        self._ways, self._shots, self.queries, self.seed, self.protocol = ways, shots, queries, seed, protocol
        self._parts = {name: _Classes.of(name, x, y, shots + queries) for name, (x, y) in splits.items()}
        for name, part in self._parts.items():
            if len(part.names) < ways:
                raise DataError(
                    f"{ways} ways: split {name} has {len(part.names)} classes of at least {shots + queries} "
                    "examples; ask for fewer ways, shots or queries"
                )
        self._require_apart()

    def _require_apart(self) -> None:
        seen: dict[str, str] = {}
        for split, part in self._parts.items():
            for name, plain in zip(part.names, part.plain, strict=True):
                if plain in seen:
                    raise DataError(
                        f"class {name} is in the splits {seen[plain]} and {split}; leave it in one"
                    )
                seen[plain] = split

    @property
    def splits(self) -> tuple[str, ...]:
        """As they were given."""
        return tuple(self._parts)

    @property
    def ways(self) -> int:
        """Classes of a task."""
        return self._ways

    @property
    def shots(self) -> int:
        """Support examples of a class."""
        return self._shots

    def class_names(self, split: str, index: int) -> tuple[str, ...]:
        """The names of a task's classes, in the order of its labels."""
        part = self._part(split)
        return tuple(part.names[k] for k in self._drawn_classes(split, task_indices([index]))[0])

    def batch(self, split: str, indices: Sequence[int]) -> Task:
        """These tasks: support.x ``[B, ways * shots, ...]``, query alike."""
        part, numbers = self._part(split), task_indices(indices)
        classes = self._drawn_classes(split, numbers)  # [B, ways]
        each = self._shots + self.queries
        u = uniform(stream_key(self.seed, split, "examples"), numbers, self._ways * each)
        places = draw_distinct(u.reshape(len(numbers), self._ways, each), part.sizes[classes])
        rows = part.order[part.starts[classes][..., None] + places]  # [B, ways, each]
        x, labels = part.x[torch.from_numpy(rows)], torch.arange(self._ways)
        k = self._shots
        return Task(
            *(
                Examples(x[:, :, part_].flatten(1, 2), labels.repeat_interleave(n).repeat(len(numbers), 1))
                for part_, n in ((slice(None, k), k), (slice(k, None), self.queries))
            )
        )

    def _drawn_classes(self, split: str, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        u = uniform(stream_key(self.seed, split, "classes"), numbers, self._ways)
        return draw_distinct(u, len(self._part(split).names))

    def _part(self, split: str) -> "_Classes":
        if split not in self._parts:
            raise DataError(f"there is no split {split!r} here; there are: {', '.join(self.splits)}")
        return self._parts[split]


class _Classes:
    """Copies of examples, sorted by class; those of classes that have too few are left out."""

    def __init__(self, x: Tensor, labels: NDArray[Any], rows: Sequence[NDArray[np.int64]]) -> None:
        self.x, self.names, self.plain = x, tuple(map(str, labels)), tuple(map(_plain, labels))
        self.order = np.concatenate(rows) if rows else np.zeros(0, dtype=np.int64)
        self.sizes = np.array([len(r) for r in rows], dtype=np.int64)
        self.starts = np.cumsum(self.sizes) - self.sizes

    @classmethod
    def of(cls, split: str, x: ArrayLike, y: ArrayLike, least: int) -> "_Classes":
        """From examples and their classes."""
        if isinstance(x, Tensor):
            examples = x.detach().to("cpu", torch.float32, copy=True)
        else:
            examples = torch.from_numpy(np.array(x, np.float32))
        labels = np.asarray(y)
        if labels.shape != (len(examples),):
            raise DataError(
                f"split {split} has {len(examples)} examples and {len(labels)} labels; give one each"
            )
        if not bool(torch.isfinite(examples).all()):
            raise DataError(f"split {split} has values that are not finite; replace or remove them")
        if labels.dtype.kind == "f" and not bool(np.isfinite(labels).all()):
            raise DataError(f"split {split} has labels that are not finite; remove these examples")
        found, codes = np.unique(labels, return_inverse=True)
        rows = [np.flatnonzero(codes == k) for k in range(len(found))]
        kept = [k for k in range(len(found)) if len(rows[k]) >= least]
        return cls(examples, found[kept], [rows[k] for k in kept])


def _plain(label: object) -> str:
    """A class as text; 2, 2.0 and "2" are one, since a column with a gap is read as fractions."""
    value = label.item() if isinstance(label, np.generic) else label
    return str(int(value)) if isinstance(value, bool | float) and value == value // 1 else str(value)
