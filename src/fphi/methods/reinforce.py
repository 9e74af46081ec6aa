"""REINFORCE over independent decisions: the simplest agent that emits an architecture.

1. Learnable: the logits of each decision.
2. Loss: the error on validation data after a short training; the reward is the accuracy.
3. Optimize: by reinforcement learning.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from fphi.learnable.architecture import IndependentPolicy, SearchSpace
from fphi.methods.searching import SearchMethod, search_method
from fphi.optimize import MovingBaseline, PolicyGradient, PolicyUpdate

__all__ = ["Reinforce"]


@search_method(
    "reinforce",
    paper="Williams, Machine Learning 1992; for NAS-Bench-201: Dong and Yang, ICLR 2020",
    arxiv="2001.00326",
)
@dataclass(frozen=True)
class Reinforce(SearchMethod):
    """The published search on NAS-Bench-201: rewards in per cent, a baseline that knows the current one.

    Args:
        lr: Adam's learning rate for the logits.
        decay: of the moving average of the rewards that is the baseline.
        entropy: weight of the policy's entropy in the objective.
    """

    usual_space: ClassVar[str] = "nasbench201"
    usual_evaluations: ClassVar[int] = 60

    lr: float = 0.01
    decay: float = 0.9
    entropy: float = 0.0

    def optimizer(self, space: SearchSpace, seed: int) -> PolicyGradient:
        policy = IndependentPolicy(space, seed)
        return PolicyGradient(
            policy,
            torch.optim.Adam(policy.parameters(), lr=self.lr),
            seed,
            update=PolicyUpdate(entropy=self.entropy),
            baseline=MovingBaseline(self.decay, corrected=True, includes_current=True),
            reward=lambda loss: 100 * (1 - loss),
        )
