"""AutoAugment: a controller writes augmentation policies, and is rewarded with what a network learns by them.

1. Learnable: the parameters of an LSTM that emits policies of five sub-policies.
2. Loss: the error on validation data after training on few images, augmented; the reward is the accuracy.
3. Optimize: by reinforcement learning; the best policies are joined.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from fphi.learnable.augmentation import PolicySpace
from fphi.learnable.space import Candidate, Tokens
from fphi.methods.families.controlling import ControllerMethod
from fphi.methods.table import method
from fphi.ranges import count

__all__ = ["AutoAugment"]


@method(
    "autoaugment",
    paper="Cubuk, Zoph, Mané, Vasudevan, Le: AutoAugment: Learning Augmentation Strategies, CVPR 2019",
    arxiv="1805.09501",
)
@dataclass(frozen=True)
class AutoAugment(ControllerMethod):
    """Thirty decisions make a policy: operations, probabilities, magnitudes, two in each sub-policy.

    Args:
        join: how many of the best policies make up the result, which has so many times five sub-policies.
    """

    usual_space: ClassVar[str] = "autoaugment"
    searches: ClassVar[type] = PolicySpace
    usual_evaluations: ClassVar[int] = 16
    paper_budget: ClassVar[str] = (
        "15,000 policies, each trained for 120 epochs on 4,000 images: --data cifar10 --train-examples 4000 "
        "--evaluations 15000 --lr 0.00035 --child-epochs 120"
    )

    join: int = count(5, 1000)

    def chosen(self, told: Sequence[tuple[Candidate, float]]) -> tuple[Tokens, ...]:
        """The best policies, each once."""
        trained = [entry for entry in told if math.isfinite(entry[1])]  # the others failed
        best = sorted(trained, key=lambda entry: (entry[1], entry[0].number))
        return tuple(dict.fromkeys(candidate.tokens for candidate, _ in best))[: self.join]
