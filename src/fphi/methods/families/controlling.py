"""What the searches have in common whose candidates an LSTM writes, and learns to write by PPO."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from fphi.learnable.controller import LSTMController
from fphi.learnable.space import Space
from fphi.methods.families.searching import SearchMethod
from fphi.optimize import MovingBaseline, PolicyGradient, PolicyUpdate
from fphi.ranges import count, number, rate, share, weight
from fphi.within.uncompiled import uncompiled

__all__ = ["ControllerMethod"]


@dataclass(frozen=True)
class ControllerMethod(SearchMethod):
    """φ are the parameters of a controller; the reward of what it writes is the accuracy.

    Args:
        lr: Adam's learning rate for the controller (papers: 0.00035, over 15,000 candidates and more: in a
            search of some dozens that learns nothing).
        hidden: units of its one LSTM layer.
        batch: candidates for each update (NASNet: 20).
        epochs: PPO's steps on each batch; the papers do not say how many.
        clip: how far PPO lets the ratio of the new to the old probability count.
        entropy: weight of the controller's entropy in the objective.
        decay: of the moving average of the rewards that is the baseline.
    """

    drawn_by: ClassVar[str] = "batch"

    lr: float = rate(0.02)
    hidden: int = count(100, 8192)
    batch: int = count(4, 100_000)
    epochs: int = count(4, 100_000)
    clip: float = number(0.2, 0, 1000, open=True)
    entropy: float = weight(1e-5)
    decay: float = share(0.95)

    def optimizer(self, space: Space, seed: int) -> PolicyGradient:
        self.require(space)
        controller = LSTMController(space, seed, hidden=self.hidden)
        return PolicyGradient(
            controller,
            uncompiled(torch.optim.Adam)(controller.parameters(), lr=self.lr),
            seed,
            update=PolicyUpdate("ppo", self.batch, self.entropy, self.clip, self.epochs),
            baseline=MovingBaseline(self.decay),
        )
