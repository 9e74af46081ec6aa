"""Reptile's learner: train on the task, then move φ towards where that led."""

import torch
from torch import Tensor

from fphi.errors import FphiError
from fphi.learnable.initialization.gradient_learner import GradientLearner
from fphi.tasks.types import Task
from fphi.within.optimizers import SGD, Adam

__all__ = ["ReptileLearner"]


class ReptileLearner(GradientLearner):
    """A `GradientLearner` whose gradient is (φ − θ̃)/α, the sum of the inner gradients g₁ + … + g_k.

    There is no query set in training and no derivative through the steps: with gradient descent
    inside, handing it to an outer optimizer of rate εα moves φ by ε (θ̃ − φ) (Nichol, Achiam,
    Schulman 2018, arXiv 1803.02999). α is the inner optimizer's ``lr``.
    """

    @property
    def inner_rate(self) -> float:
        """α, the inner optimizer's learning rate."""
        if not isinstance(self.optimizer, SGD | Adam):
            raise FphiError(
                f"Reptile divides by the rate of its inner optimizer, and {type(self.optimizer).__name__} "
                "has no single one: give fphi.sgd or fphi.adam"
            )
        return self.optimizer.lr

    def examples_at_once(self, tasks: Task) -> int:
        """Those of an inner step: there is no query set in training."""
        support = tasks.support.x.shape[1]
        return min(self.minibatch or support, support)

    def summed_gradient(self, tasks: Task) -> tuple[Tensor, list[Tensor]]:
        """The tasks' summed support loss at θ̃, and Σ (φ − θ̃)/α in the order of ``parameters()``."""
        support = tasks.support
        reached = self._last(self._trajectory(support, support.x, self.steps, order=0))
        with torch.no_grad():
            loss = self.over_tasks(self._support_loss, reached, support.x, support.y).sum()
            count = support.x.shape[0]
            rate = self.inner_rate
            moved = {k: (count * p - reached[k].sum(0)) / rate for k, p in self.adaptable.items()}
        wanted = [k for k, p in self.network.named_parameters() if p.requires_grad]
        return loss, [moved[k] for k in wanted]
