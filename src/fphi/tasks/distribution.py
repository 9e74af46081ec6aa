"""A distribution over tasks, as a function from a number to a task."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch

from fphi.tasks.types import Examples, Task

__all__ = ["TaskDistribution"]


class TaskDistribution(ABC):
    """Task i of a split is a pure function of (seed, split, i).

    Nothing else enters: neither the batch that i is drawn in, nor the tasks drawn before, nor the
    process. So any worker can make any task, a run resumes from a counter, and two methods are
    compared on the same test tasks.

    Attributes:
        protocol: how the tasks are made, by the name that belongs beside every number.
    """

    protocol: str = ""

    @property
    @abstractmethod
    def splits(self) -> tuple[str, ...]:
        """The names of the splits: "train", "validation", "test" (some may be missing), and "trials"."""

    def count(self, split: str) -> int | None:
        """How many tasks a split has; None: any number."""
        return None

    @abstractmethod
    def batch(self, split: str, indices: Sequence[int]) -> Task:
        """Return the tasks of these numbers, with a leading task dimension [B, ...].

        Raises:
            DataError: if the split does not exist, or an index is negative or of no task.
        """

    def on(self, device: torch.device) -> "TaskDistribution":
        """Return the same tasks, made on a device if that saves time; else these, which come from the CPU.

        Another device may round otherwise; on one and the same, task i is the same each time.
        """
        return self

    def task(self, split: str, index: int) -> Task:
        """Return task ``index`` of ``split``, without a leading dimension."""
        support, query = self.batch(split, [index])
        return Task(Examples(support.x[0], support.y[0]), Examples(query.x[0], query.y[0]))
