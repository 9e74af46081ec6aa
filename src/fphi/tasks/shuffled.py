"""Tasks whose examples come in random order, for learners that read them one after another."""

from collections.abc import Sequence

import torch

from fphi.tasks.distribution import TaskDistribution
from fphi.tasks.episodes import ExampleOrder
from fphi.tasks.few_shot import FewShotTasks
from fphi.tasks.hashing import stream_key, task_indices
from fphi.tasks.reorder import reordered
from fphi.tasks.types import Task

__all__ = ["shuffled"]


def shuffled(tasks: TaskDistribution, order: ExampleOrder, seed: int = 0) -> TaskDistribution:
    """The same tasks with their examples in another order, task i always in the same one.

    A task that lists its examples class by class tells each label by its place, to a learner that reads
    them as a sequence.

    Args:
        tasks: regression stays as it is, since there no place tells an answer, and so do few-shot tasks of
            images that a protocol has shuffled.
        order: of training tasks: "shuffled" or "stream", see `SplitRule`; in other splits the support set is
            shuffled. "classes" changes nothing.
        seed: of the orders; tasks of images have their own.

    >>> from fphi.tasks import load_tasks
    >>> tasks = load_tasks("hershey", ways=3, shots=2)
    >>> shuffled(tasks, "shuffled").task("train", 0).support.y.tolist()
    [1, 1, 0, 2, 2, 0]
    """
    if order == "classes" or tasks.ways is None:
        return tasks
    return tasks.in_order(order) if isinstance(tasks, FewShotTasks) else _Shuffled(tasks, order, seed)


class _Shuffled(TaskDistribution):
    """What is no order of examples is asked of the tasks themselves."""

    def __init__(self, tasks: TaskDistribution, order: ExampleOrder, seed: int) -> None:
        self.tasks, self.order, self.seed = tasks, order, seed
        self.protocol, self.notes, self.changes = tasks.protocol, tasks.notes, tasks.changes

    @property
    def splits(self) -> tuple[str, ...]:
        return self.tasks.splits

    @property
    def ways(self) -> int | None:
        return self.tasks.ways

    @property
    def shots(self) -> int:
        return self.tasks.shots

    @property
    def pooled_classes(self) -> int | None:
        return self.tasks.pooled_classes

    def class_names(self, split: str, index: int) -> tuple[str, ...]:
        return self.tasks.class_names(split, index)

    def count(self, split: str) -> int | None:
        return self.tasks.count(split)

    def on(self, device: torch.device) -> TaskDistribution:
        return _Shuffled(self.tasks.on(device), self.order, self.seed)

    def batch(self, split: str, indices: Sequence[int]) -> Task:
        task = self.tasks.drawn(split, indices)
        key = stream_key(self.seed, split, "order")
        return reordered(task, self.order if split == "train" else "shuffled", key, task_indices(indices))
