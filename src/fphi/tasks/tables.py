"""Tables in context: small tables of random origin, each with rows to learn from and rows to answer."""

from collections.abc import Sequence

import numpy as np
import torch

from fphi.errors import DataError
from fphi.ranges import SEED, Range, checked
from fphi.tasks.distribution import TaskDistribution
from fphi.tasks.hashing import stream_key, task_indices, uniform
from fphi.tasks.tables_draws import Draws
from fphi.tasks.tables_prior import NODES, draw_tables
from fphi.tasks.types import Examples, Task

__all__ = ["TableTasks"]

BUCKET = 64
"""Training tasks in a row whose tables have the same number of rows."""


class TableTasks(TaskDistribution):
    """Classify the rows of a table that nobody has seen; the tables are drawn from a synthetic prior.

    The prior is a mixture of structural models, random networks, clouds of points and trees, with what tables
    are like in practice: see `fphi.tasks.tables_prior` and docs/tables.md. (S. Müller and others, ICLR 2022,
    arXiv 2112.10510; N. Hollmann and others, TabPFN, ICLR 2023, arXiv 2207.01848.)

    A task has up to ``ways`` classes and ``columns`` columns; columns that its table has not are 0. Rows to
    learn from are as many for all tests, 128. In training they are as many for 64 tasks in a row, 10 to 320,
    small ones more often: tasks of different numbers are in no batch together.

    Args:
        ways: classes of the table that has most.
        queries: rows to be tested on; None: 64.
        columns: of the widest table.
        seed: task i of a split is a function of (seed, split, i).

    >>> support, query = TableTasks().batch("test", range(3))
    >>> support.x.shape, query.y.shape
    (torch.Size([3, 128, 32]), torch.Size([3, 64]))
    """

    protocol = "tables"
    SUPPORT = (10, 320)
    TEST_SUPPORT = 128

    @checked(ways=Range(2, 10), columns=Range(1, NODES), seed=SEED)
    def __init__(
        self, ways: int = 10, queries: int | None = None, columns: int = NODES, seed: int = 0
    ) -> None:
        self._ways, self.columns, self.seed = ways, columns, seed
        self.queries = 64 if queries is None else queries

    @property
    def splits(self) -> tuple[str, ...]:
        """Training, validation and test; the three draw from one distribution with different numbers."""
        return ("train", "validation", "test")

    @property
    def ways(self) -> int:
        """Classes of the table that has most."""
        return self._ways

    @property
    def shots(self) -> int:
        """Support rows of a test task for each of so many classes."""
        return self.TEST_SUPPORT // self._ways

    def support_rows(self, split: str, indices: Sequence[int]) -> list[int]:
        """How many rows each of these tasks learns from."""
        wanted = task_indices(indices)
        if split != "train":
            return [self.TEST_SUPPORT] * len(wanted)
        low, high = np.log(self.SUPPORT)
        u = uniform(stream_key(self.seed, split, "rows"), wanted // BUCKET, 1)[:, 0]
        return [int(rows) for rows in np.exp(low + u * (high - low)).round()]

    def batch(self, split: str, indices: Sequence[int]) -> Task:
        """Return these tasks: support.x [B, rows, columns] float32, support.y [B, rows], query alike.

        Raises:
            DataError: training tasks of different numbers of rows are asked for.
        """
        if split not in self.splits:
            raise DataError(f"there is no split {split!r} here; there are: {', '.join(self.splits)}")
        support = sorted(set(self.support_rows(split, indices)))
        if len(support) > 1:
            raise DataError(
                f"tasks of {support[0]} and of {support[-1]} rows are asked for together; training tasks are "
                f"alike in blocks of {BUCKET} from 0 on: choose a meta-batch that divides {BUCKET}"
            )
        rows = (support[0] if support else self.TEST_SUPPORT) + self.queries
        draws = Draws(self.seed, split, task_indices(indices))
        x, y = map(torch.from_numpy, draw_tables(draws, rows, self.columns, self._ways))
        parts = (slice(None, rows - self.queries), slice(rows - self.queries, None))
        return Task(*(Examples(x[:, part].contiguous(), y[:, part].contiguous()) for part in parts))
