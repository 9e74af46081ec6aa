"""A distribution over tasks, as a function from a number to a task."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from fphi.errors import DataError
from fphi.tasks.types import Examples, Task

__all__ = ["TaskDistribution"]


class TaskDistribution(ABC):
    """Task i of a split is a pure function of (seed, split, i).

    Nothing else enters: neither the batch that i is drawn in, nor the tasks drawn before, nor the
    process. So any worker can make any task, a run resumes from a counter, and two methods are
    compared on the same test tasks.

    Attributes:
        protocol: how the tasks are made, by the name that belongs beside every number.
        notes: what a user should know of these tasks, a plain line each: what of the data was dropped, or
            which number became smaller because the data have no more.
        changes: how the data differ from those that a run was trained on; they are among the notes.
    """

    protocol: str = ""
    notes: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()

    @property
    @abstractmethod
    def splits(self) -> tuple[str, ...]:
        """The names of the splits: "train", "validation", "test" (some may be missing), and "trials"."""

    @property
    def ways(self) -> int | None:
        """Classes of a task of the last split, which is a test task where there are any; None: regression."""
        labels = self.task(self.splits[-1], 0).support.y
        return None if labels.is_floating_point() else int(labels.max()) + 1

    @property
    def shots(self) -> int:
        """Support examples of each of these classes; in regression, of the task."""
        return len(self.task(self.splits[-1], 0).support.y) // (self.ways or 1)

    @property
    def pooled_classes(self) -> int | None:
        """How many classes the labels of training tasks number, if a label is one class in all of them."""
        return None

    def class_names(self, split: str, index: int) -> tuple[str, ...]:
        """Return the names of a task's classes, in the order of its labels; none where they have no names."""
        return ()

    def count(self, split: str) -> int | None:
        """How many tasks a split has; None: any number."""
        return None

    @abstractmethod
    def batch(self, split: str, indices: Sequence[int]) -> Task:
        """Return the tasks of these numbers, with a leading task dimension [B, ...].

        Raises:
            DataError: if the split does not exist, or an index is negative or of no task.
        """

    def drawn(self, split: str, indices: Sequence[int]) -> Task:
        """The same, once it is sure that `batch` gives what it is to give.

        Raises:
            DataError: as `batch`, or it gives no batch of so many tasks.
        """
        made: object = self.batch(split, indices)
        name = f"{type(self).__name__}.batch"
        if not isinstance(made, Task) or not all(isinstance(part, Examples) for part in made):
            raise DataError(
                f"{name} gives a {type(made).__name__}; it must give one fphi.Task of two fphi.Examples with "
                "a leading dimension of tasks, as fphi.stack makes it of a list of tasks"
            )
        for value in (value for part in made for value in part):
            if not isinstance(value, Tensor) or value.shape[:1] != (len(indices),):
                what = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
                raise DataError(f"{name} of {len(indices)} tasks gives {what}, and no tensor [tasks, …]")
        return made

    def on(self, device: torch.device) -> "TaskDistribution":
        """Return the same tasks, whose tensors are made on a device where that saves time, else on the CPU.

        Task i is the same each time on the same device; another device may round differently.
        """
        return self

    def task(self, split: str, index: int) -> Task:
        """Return task ``index`` of ``split``, without a leading dimension."""
        support, query = self.drawn(split, [index])
        return Task(Examples(support.x[0], support.y[0]), Examples(query.x[0], query.y[0]))
