"""Problems of handwritten digits: one data set, and each task a draw of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from fphi.errors import DataError
from fphi.ranges import SEED, checked
from fphi.tasks.distribution import TaskDistribution
from fphi.tasks.hashing import stream_key, task_indices, uniform
from fphi.tasks.supervised import load_supervised
from fphi.tasks.types import Examples, Task

__all__ = ["DigitTasks", "Digits"]

Digits = Literal["digits", "mnist"]


class DigitTasks(TaskDistribution):
    """Learn to tell digits apart from some examples of each; every task has other examples.

    Unlike the tasks of characters these share their classes: what can be learned across them is how to
    train. The splits share no example.

    Args:
        ways: digits of a task, drawn anew and in a new order for each; with 10 they are all.
        shots: support examples of each.
        queries: query examples of each; None: as many as ``shots``, at most 10.
        seed: task i of a split is a function of (seed, split, i).
        data: "digits", the 1,797 of 8x8 pixels that come with scikit-learn, or "mnist", 70,000 of 28x28.
        data_root: where MNIST is; see `load_supervised`.

    >>> DigitTasks(ways=10, shots=10).task("test", 0).support.x.shape
    torch.Size([100, 1, 8, 8])
    """

    @checked(seed=SEED)
    def __init__(
        self,
        ways: int = 10,
        shots: int = 10,
        queries: int | None = None,
        seed: int = 0,
        data: Digits = "digits",
        data_root: Path | str | None = None,
    ) -> None:
        digits = load_supervised(data, data_root)
        self._parts = {"train": digits.train, "validation": digits.validation, "test": digits.test}
        self._rows = {split: _by_class(part.y.numpy()) for split, part in self._parts.items()}
        self._ways, self._shots, self.seed = ways, shots, seed
        self.queries = min(shots, 10) if queries is None else queries
        if not 2 <= ways <= digits.classes:
            raise DataError(f"{ways} ways: there are {digits.classes} digits; ask for 2 to {digits.classes}")
        for split, rows in self._rows.items():
            fewest, wanted = min(map(len, rows)), shots + self.queries
            if wanted > fewest:
                raise DataError(
                    f"{shots} shots and {self.queries} queries are {wanted} examples of a digit, and the "
                    f"split {split} has {fewest}; ask for fewer"
                )

    @property
    def splits(self) -> tuple[str, ...]:
        """Training, validation and test."""
        return ("train", "validation", "test")

    @property
    def ways(self) -> int:
        """Digits of a task."""
        return self._ways

    @property
    def shots(self) -> int:
        """Support examples of each."""
        return self._shots

    def batch(self, split: str, indices: Sequence[int]) -> Task:
        """Return these tasks: support.x [B, ways*shots, 1, h, w], support.y [B, ways*shots], query alike."""
        if split not in self.splits:
            raise DataError(f"there is no split {split!r} here; there are: {', '.join(self.splits)}")
        wanted = task_indices(indices)
        rows, classes = self._rows[split], len(self._rows[split])
        digits = uniform(stream_key(self.seed, split, "digits"), wanted, classes).argsort(1)[:, : self.ways]
        longest = max(map(len, rows))
        keys = uniform(stream_key(self.seed, split, "examples"), wanted, classes * longest)
        keys = keys.reshape(-1, classes, longest)
        drawn = [
            [rows[d][keys[task, d, : len(rows[d])].argsort()[: self.shots + self.queries]] for d in own]
            for task, own in enumerate(digits)
        ]
        chosen = np.array(drawn, dtype=np.int64).reshape(len(digits), self.ways, -1)
        x = self._parts[split].x
        return Task(*(_examples(x, part) for part in np.split(chosen, [self.shots], axis=2)))


def _by_class(labels: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [np.flatnonzero(labels == label) for label in range(int(labels.max()) + 1)]


def _examples(x: torch.Tensor, rows: NDArray[np.int64]) -> Examples:
    """Those of the rows ``[B, ways, k]``."""
    tasks, ways, each = rows.shape
    labels = torch.arange(ways).repeat_interleave(each).expand(tasks, -1).contiguous()
    return Examples(x[torch.from_numpy(rows.reshape(tasks, -1))], labels)
