"""AutoAugment: a controller writes augmentation policies, and is rewarded with what a network learns by them.

1. Learnable: the parameters of an LSTM that emits policies of five sub-policies.
2. Loss: the error on validation data after training on few images, augmented; the reward is the accuracy.
3. Optimize: by reinforcement learning; the best policies are joined.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from fphi.learnable.augmentation import PolicySpace
from fphi.learnable.controller import LSTMController
from fphi.learnable.space import Candidate, Space, Tokens
from fphi.methods.families.searching import SearchMethod
from fphi.methods.table import method
from fphi.objective.outcome import WORST
from fphi.optimize import MovingBaseline, PolicyGradient, PolicyUpdate
from fphi.ranges import count, number, rate, share, weight

__all__ = ["AutoAugment"]


@method(
    "autoaugment",
    paper="Cubuk, Zoph, Mané, Vasudevan, Le: AutoAugment: Learning Augmentation Strategies, CVPR 2019",
    arxiv="1805.09501",
)
@dataclass(frozen=True)
class AutoAugment(SearchMethod):
    """Thirty decisions make a policy: operations, probabilities, magnitudes, two in each sub-policy.

    Args:
        lr: Adam's learning rate for the controller (paper: 0.00035, over 15,000 policies: in a search of some
            dozens that learns nothing).
        hidden: units of its one LSTM layer.
        batch: policies for each update.
        epochs: PPO's steps on each batch; the paper does not say how many.
        clip: how far PPO lets the ratio of the new to the old probability count.
        entropy: weight of the controller's entropy in the objective.
        decay: of the moving average of the rewards that is the baseline.
        join: how many of the best policies make up the result, which has so many times five sub-policies.
    """

    usual_space: ClassVar[str] = "autoaugment"
    searches: ClassVar[type] = PolicySpace
    usual_evaluations: ClassVar[int] = 16
    paper_budget: ClassVar[str] = (
        "15,000 policies, each trained for 120 epochs on 4,000 images: --data cifar10 --train-examples 4000 "
        "--evaluations 15000 --lr 0.00035 --child-epochs 120"
    )

    lr: float = rate(0.02)
    hidden: int = count(100, 8192)
    batch: int = count(4, 100_000)
    epochs: int = count(4, 100_000)
    clip: float = number(0.2, 0, 1000, open=True)
    entropy: float = weight(1e-5)
    decay: float = share(0.95)
    join: int = count(5, 1000)

    def optimizer(self, space: Space, seed: int) -> PolicyGradient:
        self.require(space)
        controller = LSTMController(space, seed, hidden=self.hidden)
        return PolicyGradient(
            controller,
            torch.optim.Adam(controller.parameters(), lr=self.lr),
            seed,
            update=PolicyUpdate("ppo", self.batch, self.entropy, self.clip, self.epochs),
            baseline=MovingBaseline(self.decay),
        )

    def chosen(self, told: Sequence[tuple[Candidate, float]]) -> tuple[Tokens, ...]:
        """The best policies, each once."""
        trained = [entry for entry in told if entry[1] < WORST]  # the others failed
        best = sorted(trained or told, key=lambda entry: (entry[1], entry[0].number))
        return tuple(dict.fromkeys(candidate.tokens for candidate, _ in best))[: self.join]
