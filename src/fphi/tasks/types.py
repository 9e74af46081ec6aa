"""The few types that every other module speaks: examples, a task, a batch of tasks."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fphi.errors import FphiError
from fphi.ranges import checked

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


@checked()
def stack(tasks: Sequence[Task]) -> Task:
    """Stack tasks of equal shapes into one batch with a leading task dimension.

    Raises:
        FphiError: there is none, or they differ in shape, type or device.

    >>> one = Task(Examples(torch.zeros(5, 2), torch.arange(5)), Examples(torch.zeros(3, 2), torch.arange(3)))
    >>> stack([one, one]).query.x.shape
    torch.Size([2, 3, 2])
    """
    if not tasks:
        raise FphiError("there is no task to stack; give at least one")
    support, query = zip(*tasks, strict=True)
    return Task(_stacked("support", support), _stacked("query", query))


def _stacked(name: str, parts: Sequence[Examples]) -> Examples:
    return Examples(*(_stacked_tensors(f"{name}.{part}", [getattr(p, part) for p in parts]) for part in "xy"))


def _stacked_tensors(name: str, tensors: Sequence[Tensor]) -> Tensor:
    first = tensors[0]
    for number, tensor in enumerate(tensors):
        if not isinstance(tensor, Tensor):
            raise FphiError(f"{name} of task {number} is a {type(tensor).__name__}; give a torch.Tensor")
        for what in ("shape", "dtype", "device"):
            one, other = getattr(first, what), getattr(tensor, what)
            if one != other:
                raise FphiError(
                    f"{name} of task 0 has {what} {_plain(one)} and that of task {number} {_plain(other)}; "
                    "make batches of tasks that have the same"
                )
    return torch.stack(list(tensors))


def _plain(what: object) -> str:
    return str(list(what)) if isinstance(what, torch.Size) else str(what).removeprefix("torch.")
