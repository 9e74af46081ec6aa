"""NASNet: an LSTM emits a normal and a reduction cell, and learns by PPO.

1. Learnable: the parameters of a controller that emits architectures.
2. Loss: the error on validation data after a short training; the reward is the accuracy.
3. Optimize: by reinforcement learning.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from fphi.learnable.architecture import SearchSpace
from fphi.learnable.architecture.controller import LSTMController
from fphi.methods.searching import SearchMethod, search_method
from fphi.optimize import MovingBaseline, PolicyGradient, PolicyUpdate

__all__ = ["NASNet"]


@search_method(
    "nasnet",
    paper="Zoph, Vasudevan, Shlens, Le: Learning Transferable Architectures, CVPR 2018",
    arxiv="1707.07012",
)
@dataclass(frozen=True)
class NASNet(SearchMethod):
    """Cells are sought in a small network and stacked to a large one.

    Args:
        lr: Adam's learning rate for the controller (paper: 0.00035, over 20,000 children; a search of some
            hundred needs larger steps).
        hidden: units of its one LSTM layer.
        batch: children for each update (paper: 20).
        epochs: PPO's steps on each batch; the paper does not say how many.
        clip: how far PPO lets the ratio of the new to the old probability count.
        entropy: weight of the controller's entropy in the objective.
        decay: of the moving average of the rewards that is the baseline.
    """

    usual_space: ClassVar[str] = "cells"

    lr: float = 3.5e-4
    hidden: int = 100
    batch: int = 5
    epochs: int = 4
    clip: float = 0.2
    entropy: float = 1e-5
    decay: float = 0.95

    def optimizer(self, space: SearchSpace, seed: int) -> PolicyGradient:
        controller = LSTMController(space, seed, hidden=self.hidden)
        return PolicyGradient(
            controller,
            torch.optim.Adam(controller.parameters(), lr=self.lr),
            seed,
            update=PolicyUpdate("ppo", self.batch, self.entropy, self.clip, self.epochs),
            baseline=MovingBaseline(self.decay),
        )
