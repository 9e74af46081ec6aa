"""The order in which a task's examples come."""

import numpy as np
import torch
from numpy.typing import NDArray

from fphi.tasks.episodes import ExampleOrder
from fphi.tasks.hashing import uniform
from fphi.tasks.types import Examples, Task

__all__ = ["reordered"]


def reordered(task: Task, order: ExampleOrder, key: np.uint64, index: NDArray[np.int64]) -> Task:
    """A batch of tasks with the support sets shuffled; in order "stream" all examples, the last as queries.

    Args:
        task: batched, ``[B, ...]``.
        order: see `SplitRule`; "classes" changes nothing.
        key: of the stream of random numbers.
        index: int64 [B], the tasks' numbers.
    """
    if order == "classes":
        return task
    rows = task.support.y.shape[1]
    first = task.support if order == "shuffled" else _joined(task)
    places = np.argsort(uniform(key, index, first.y.shape[1]), kind="stable")
    device = first.y.device
    at = torch.arange(len(index), device=device)[:, None], torch.from_numpy(places).to(device)
    x, y = first.x[at], first.y[at]
    if order == "shuffled":
        return Task(Examples(x, y), task.query)
    return Task(Examples(x[:, :rows], y[:, :rows]), Examples(x[:, rows:], y[:, rows:]))


def _joined(task: Task) -> Examples:
    return Examples(*(torch.cat(both, 1) for both in zip(*task, strict=True)))
