"""The few types that every other module speaks: examples, a task, a batch of tasks."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Examples", "Task", "stack"]


class Examples(NamedTuple):
    """Inputs and their targets.

    Shapes: ``x: [n, *input]``, ``y: [n]`` int64 labels in 0..ways-1 (or ``[n, *target]`` in
    regression). A batch of tasks is the same type with one more leading dimension.
    """

    x: Tensor
    y: Tensor


class Task(NamedTuple):
    """A support set to learn from and a query set to be tested on; they share no example.

    A batch of tasks is a ``Task`` whose tensors have a leading task dimension.
    """

    support: Examples
    query: Examples

    def to(self, device: torch.device) -> "Task":
        """The same task on this device."""
        return Task(*(Examples(part.x.to(device), part.y.to(device)) for part in self))


def stack(tasks: Sequence[Task]) -> Task:
    """Stack tasks of equal shapes into one batch with a leading task dimension.

    >>> one = Task(Examples(torch.zeros(5, 2), torch.arange(5)), Examples(torch.zeros(3, 2), torch.arange(3)))
    >>> stack([one, one]).query.x.shape
    torch.Size([2, 3, 2])
    """
    support, query = zip(*tasks, strict=True)
    return Task(_stack_examples(support), _stack_examples(query))


def _stack_examples(parts: Sequence[Examples]) -> Examples:
    return Examples(torch.stack([p.x for p in parts]), torch.stack([p.y for p in parts]))
