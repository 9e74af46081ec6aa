"""REINFORCE over independent decisions: the simplest agent that emits an architecture.

1. Learnable: the logits of each decision.
2. Loss: the error on validation data after a short training; the reward is the accuracy.
3. Optimize: by reinforcement learning.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from fphi.learnable.policy import IndependentPolicy
from fphi.learnable.space import Space
from fphi.methods.families.searching import SearchMethod
from fphi.methods.table import method
from fphi.optimize import MovingBaseline, PolicyGradient, PolicyUpdate
from fphi.ranges import rate, share, weight
from fphi.within.uncompiled import uncompiled

__all__ = ["Reinforce"]


@method(
    "reinforce",
    paper="Williams, Machine Learning 1992; for NAS-Bench-201: Dong and Yang, ICLR 2020",
    arxiv="2001.00326",
)
@dataclass(frozen=True)
class Reinforce(SearchMethod):
    """The published search on NAS-Bench-201, with larger steps.

    Rewards are in per cent, and the baseline knows the current one. The published rate of 0.01 finds what
    random search finds: in the hundred updates that the budget pays for, the policy hardly leaves the uniform
    one.

    Args:
        lr: Adam's learning rate for the logits (published: 0.01).
        decay: of the moving average of the rewards that is the baseline.
        entropy: weight of the policy's entropy in the objective.
    """

    usual_space: ClassVar[str] = "nasbench201"
    usual_evaluations: ClassVar[int] = 60
    paper_budget: ClassVar[str] = "12,000 seconds of a table: --table FILE --seconds 12000 --lr 0.01"

    lr: float = rate(0.1)
    decay: float = share(0.9)
    entropy: float = weight(0.0)

    def optimizer(self, space: Space, seed: int) -> PolicyGradient:
        policy = IndependentPolicy(space, seed)
        return PolicyGradient(
            policy,
            uncompiled(torch.optim.Adam)(policy.parameters(), lr=self.lr),
            seed,
            update=PolicyUpdate(entropy=self.entropy),
            baseline=MovingBaseline(self.decay, corrected=True, includes_current=True),
            reward=lambda loss: 100 * (1 - loss),
        )
