"""NASNet: an LSTM emits a normal and a reduction cell, and learns by PPO.

1. Learnable: the parameters of a controller that emits architectures.
2. Loss: the error on validation data after a short training; the reward is the accuracy.
3. Optimize: by reinforcement learning.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from fphi.learnable.controller import LSTMController
from fphi.learnable.space import Space
from fphi.methods.families.searching import SearchMethod
from fphi.methods.table import method
from fphi.optimize import MovingBaseline, PolicyGradient, PolicyUpdate
from fphi.ranges import count, number, rate, share, weight

__all__ = ["NASNet"]


@method(
    "nasnet",
    paper="Zoph, Vasudevan, Shlens, Le: Learning Transferable Architectures, CVPR 2018",
    arxiv="1707.07012",
)
@dataclass(frozen=True)
class NASNet(SearchMethod):
    """Cells are sought in a small network and stacked to a large one.

    Args:
        lr: Adam's learning rate for the controller (paper: 0.00035, over 20,000 children: in a search of some
            dozens that learns nothing).
        hidden: units of its one LSTM layer.
        batch: children for each update (paper: 20).
        epochs: PPO's steps on each batch; the paper does not say how many.
        clip: how far PPO lets the ratio of the new to the old probability count.
        entropy: weight of the controller's entropy in the objective.
        decay: of the moving average of the rewards that is the baseline.
    """

    usual_space: ClassVar[str] = "cells"
    usual_evaluations: ClassVar[int] = 12
    paper_budget: ClassVar[str] = "20,000 children: --evaluations 20000 --lr 0.00035 --batch 20"

    lr: float = rate(0.02)
    hidden: int = count(100, 8192)
    batch: int = count(4, 100_000)
    epochs: int = count(4, 100_000)
    clip: float = number(0.2, 0, 1000, open=True)
    entropy: float = weight(1e-5)
    decay: float = share(0.95)

    def optimizer(self, space: Space, seed: int) -> PolicyGradient:
        controller = LSTMController(space, seed, hidden=self.hidden)
        return PolicyGradient(
            controller,
            torch.optim.Adam(controller.parameters(), lr=self.lr),
            seed,
            update=PolicyUpdate("ppo", self.batch, self.entropy, self.clip, self.epochs),
            baseline=MovingBaseline(self.decay),
        )
