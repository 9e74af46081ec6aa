"""What the labels of a support set say: which examples make up a class."""

from itertools import pairwise
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from fphi.errors import FphiError
from fphi.tasks.types import Examples, Task

__all__ = ["OfEqualWays", "class_means", "members", "require_equal_shots"]


class OfEqualWays:
    """A learner that solves tasks together only where they have equally many classes, all with examples."""

    training: bool
    # Whether it does not read labels as classes of a task until it is tested.
    only_at_test: ClassVar[bool] = False

    def solved_together(self, tasks: Task) -> list[Task]:
        """The tasks in parts of equal ways, in their order: as a rule one, but tables have few or many."""
        labels = tasks.support.y
        if labels.is_floating_point() or (self.only_at_test and self.training):
            return [tasks]
        ways = labels.flatten(1).amax(1).tolist()
        ends = [place for place, (one, other) in enumerate(pairwise(ways), 1) if one != other]
        bounds = pairwise([0, *ends, len(ways)])
        return [Task(*(Examples(e.x[a:b], e.y[a:b]) for e in tasks)) for a, b in bounds] if ends else [tasks]


def members(labels: Tensor) -> Tensor:
    """Which example is of which class: bool ``[B, n, ways]`` of ``labels: [B, n]``, ways = max(labels) + 1.

    Raises:
        FphiError: a class of 0..max(labels) has no support example.
    """
    ways = int(labels.max()) + 1
    member = F.one_hot(labels, ways).bool()
    empty = ~member.any(1)
    if empty.any():
        task, label = empty.nonzero()[0].tolist()
        raise FphiError(
            f"class {label} of task {task} has no support example (labels go up to {ways - 1}): "
            "give at least one example of every class"
        )
    return member


def class_means(embedded: Tensor, labels: Tensor) -> Tensor:
    """Class means ``[B, ways, d]`` of ``embedded: [B, n, d]`` by ``labels: [B, n]``; any shots per class."""
    member = members(labels).to(embedded.dtype)
    return member.mT @ embedded / member.sum(1).unsqueeze(2)


def require_equal_shots(labels: Tensor, learner: str) -> None:
    """Raise an `FphiError` if the classes of ``labels: [B, n]`` differ in their number of examples."""
    counts = members(labels).sum(1)
    unequal = (counts != counts[:, :1]).any(1)
    if unequal.any():
        task = int(unequal.nonzero()[0])
        raise FphiError(
            f"the classes of task {task} have {', '.join(map(str, counts[task].tolist()))} support examples, "
            f"and {learner} needs equally many of each: leave some out, or choose a prototypical network"
        )
