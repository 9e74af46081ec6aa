"""FOMAML: MAML with the inner gradients taken as constants.

1. Learnable: the initial parameters φ = θ⁰.
2. Loss: the query loss after the inner steps.
3. Optimize: by the query gradient at the adapted parameters, ∂θ'/∂φ := I.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from fphi.methods.base import Usual
from fphi.methods.families.networks import Rate
from fphi.methods.maml import MAML
from fphi.methods.table import method

__all__ = ["FOMAML"]


@method("fomaml", paper="Finn, Abbeel, Levine, ICML 2017; Nichol, Achiam, Schulman, 2018", arxiv="1803.02999")
@dataclass(frozen=True)
class FOMAML(MAML):
    """MAML without second derivatives: about a third faster, and nearly as accurate.

    The options are MAML's, with more and smaller inner steps: the one large step of MAML moves θ' far from
    where ∂θ'/∂φ = I holds (after 300 meta-steps on Omniglot 52 % against 90 %).
    """

    order: ClassVar[Literal[1, 2]] = 1

    usual: ClassVar[Usual] = Usual(
        steps=300,
        meta_batch=16,
        paper="as MAML's, 60,000 steps of 32 tasks: --steps 60000 --meta-batch 32",
        regression_steps=4000,
    )
    usual_inner_lr: ClassVar[Rate] = Rate(classification=0.1, regression=0.01)

    inner_steps: int = 5
    test_steps: int = 5
