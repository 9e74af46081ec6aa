"""What the systems that learn the weights of training examples have in common."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import nn

from fphi.methods.base import Method
from fphi.optimize.weighting import Weighting
from fphi.ranges import count

__all__ = ["WeightingMethod"]


@dataclass(frozen=True)
class WeightingMethod(Method):
    """A system that trains one network on one large task, and learns meanwhile which examples count.

    Its loss is that of a few clean examples, optimized by gradient, through one step of the network.

    Args:
        clean_batch_size: clean examples of a step, at most.
    """

    # Options of the training where nobody gives them: chosen on the digits, by examples that are not tested.
    usual_training: ClassVar[Mapping[str, object]] = MappingProxyType(
        {"epochs": 40, "batch_size": 100, "lr": 0.05, "weight_decay": 5e-4}
    )
    # The paper's own training in words, with the options that give it.
    paper_training: ClassVar[str] = ""

    clean_batch_size: int = count(100, 100_000)

    @abstractmethod
    def begin(self, module: nn.Module, optimizer: torch.optim.Optimizer) -> Weighting:
        """Steps 1 to 3: what weighs the examples of each minibatch, at the start of a training.

        Args:
            module: the network that is trained.
            optimizer: of its parameters.
        """
