"""A network that was trained on one large task, and how well it does."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from fphi.ranges import count
from fphi.tasks.supervised import Supervised
from fphi.tasks.types import Examples
from fphi.within.answers import are_right

__all__ = ["TrainedNetwork", "accuracy", "parameter_count"]

_EVALUATION_BATCH = 500


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained network, in evaluation mode, and how its training went.

    Args:
        module: ``[n, *input_shape]`` to ``[n, classes]``.
        data: that it was trained on.
        validation: the accuracy on the validation examples after each epoch.
        losses: the mean training loss of each epoch.
        velocity: of the gradient descent at the end, by parameter name.
        last_epochs, of_last: see `fphi.within.training.NetworkTraining`.
    """

    module: nn.Module
    data: Supervised
    validation: list[float]
    losses: list[float]
    velocity: dict[str, Tensor]
    last_epochs: int = count(1, 100_000)
    of_last: Literal["max", "mean"] = "max"

    @property
    def validation_accuracy(self) -> float:
        """The accuracy that counts: the highest, or the mean, of the last epochs'."""
        last = self.validation[-self.last_epochs :]
        return max(last) if self.of_last == "max" else sum(last) / len(last)

    def test_accuracy(self) -> float:
        """The accuracy on the test examples, of which nothing before depends."""
        return accuracy(self.module, self.data.test)


@torch.no_grad()
def accuracy(module: nn.Module, examples: Examples) -> float:
    """The fraction of right answers of the module, which is put into evaluation mode."""
    module.eval()
    parts = zip(*(torch.split(part, _EVALUATION_BATCH) for part in examples), strict=True)
    right = sum(int(are_right(module(x), y).sum()) for x, y in parts)
    return right / len(examples.y)


def parameter_count(module: nn.Module) -> int:
    """How many numbers are learned; shared ones count once."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
