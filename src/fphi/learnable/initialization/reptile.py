"""Reptile's learner: train on the task, then move φ towards where that led."""

from typing import Any

import torch
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.learnable.initialization.gradient_learner import GradientLearner
from fphi.ranges import Range, checked
from fphi.tasks.types import Task
from fphi.within.adaptive import Adam
from fphi.within.optimizers import SGD, UpdateRule
from fphi.within.stand_in import own_parameters

__all__ = ["ReptileLearner"]


class ReptileLearner(GradientLearner):
    """A `GradientLearner` whose gradient is (φ − θ̃)/α, the sum of the inner gradients g₁ + … + g_k.

    There is no query set in training and no derivative through the steps: with gradient descent
    inside, handing it to an outer optimizer of rate εα moves φ by ε (θ̃ − φ) (Nichol, Achiam,
    Schulman 2018, arXiv 1803.02999). α is the inner optimizer's ``lr``. What inner steps do not move, as the
    body with ``adapts="head"``, has the gradient 0.

    Args:
        network: see `GradientLearner`, as the rest.
        optimizer: see there.
        steps: inner steps in training, k.
        skipped: inner gradients that are left out of the sum, from the first on: with two steps, 1 leaves g₂
            alone, which is FOMAML on minibatches.
        settings: see there.
    """

    @checked(steps=Range(0), skipped=Range(0))
    def __init__(
        self, network: nn.Module, optimizer: UpdateRule, steps: int, *, skipped: int = 0, **settings: Any
    ) -> None:
        super().__init__(network, optimizer, steps, **settings)
        if skipped and skipped >= steps:
            raise FphiError(f"skipped is {skipped}, which leaves no inner gradient of {steps}; give less")
        if self.step_weights is not None or self.first_order_until:
            raise FphiError(
                "Reptile has no query loss in training and no derivative through its steps: step_weights and "
                "first_order_until would change nothing; leave them out"
            )
        self.skipped = skipped

    @property
    def inner_rate(self) -> float:
        """α, the inner optimizer's learning rate."""
        if not isinstance(self.optimizer, SGD | Adam):
            raise FphiError(
                f"Reptile divides by the rate of its inner optimizer, and {type(self.optimizer).__name__} "
                "has no single one: give fphi.sgd or fphi.adam"
            )
        if not self.optimizer.lr > 0:
            raise FphiError(
                f"Reptile divides by the rate of its inner optimizer, which is {self.optimizer.lr}; give one "
                "above 0"
            )
        return self.optimizer.lr

    def examples_at_once(self, tasks: Task) -> int:
        """Those of an inner step: there is no query set in training."""
        support = tasks.support.x.shape[1]
        return min(self.minibatch or support, support)

    def summed_gradient(self, tasks: Task) -> tuple[Tensor, list[Tensor]]:
        """The tasks' summed support loss at θ̃, and Σ (φ − θ̃)/α in the order of ``parameters()``.

        Raises:
            FphiError: the inner rate is 0 or not a single one, or there is something to learn outside of the
                network, as in the loss, which no inner step moves.
        """
        support, rate, wanted, own = tasks.support, self.inner_rate, self._wanted(), self.adaptable
        with torch.no_grad():
            inputs = self._inputs(support.x)
        for step, now in enumerate(self._trajectory(support, inputs, self.steps, order=0)):
            reached = now
            if step == self.skipped:
                begun = now
        with torch.no_grad():
            loss = self.over_tasks(self._support_loss, reached, inputs, support.y).sum()
            count = support.x.shape[0]
            sums = {k: begun[k].sum(0) if self.skipped else count * p for k, p in own.items()}
            moved = {id(p): (sums[k] - reached[k].sum(0)) / rate for k, p in own.items()}
            return loss, [moved[id(p)] if id(p) in moved else torch.zeros_like(p) for p in wanted]

    def _wanted(self) -> list[Tensor]:
        """What requires a gradient, all of it in the network."""
        within = {id(p) for p in own_parameters(self.network).values()}
        wanted = {name: p for name, p in own_parameters(self).items() if p.requires_grad}
        for name, parameter in wanted.items():
            if id(parameter) not in within:
                raise FphiError(
                    f"{name} requires a gradient, and Reptile has one only for what inner steps move, the "
                    "network's parameters; call requires_grad_(False) on it, or give another learner"
                )
        return list(wanted.values())
