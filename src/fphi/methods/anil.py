"""ANIL: almost no inner loop.

1. Learnable: body and head of a network; the inner loop adapts the head alone, in training and test.
2. Loss: the query loss after the inner steps.
3. Optimize: by gradient through the head's adaptation, which reaches the body too.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from fphi.methods.base import Usual
from fphi.methods.families.networks import Rate
from fphi.methods.maml import MAML
from fphi.methods.table import method

__all__ = ["ANIL"]


@method(
    "anil",
    paper="Raghu, Raghu, Bengio, Vinyals: Rapid Learning or Feature Reuse?, ICLR 2020",
    arxiv="1909.09157",
)
@dataclass(frozen=True)
class ANIL(MAML):
    """MAML that adapts only the last layer: the body's features are computed once.

    The options are MAML's, with more inner steps, since they cost next to nothing here, and a smaller
    inner rate: several steps of MAML's make the head swing from side to side.
    """

    adapts: ClassVar[Literal["all", "head"]] = "head"

    usual: ClassVar[Usual] = Usual(
        steps=500,
        meta_batch=16,
        paper="as MAML's, 60,000 steps of 32 tasks: --steps 60000 --meta-batch 32",
        regression_steps=4000,
    )
    usual_inner_lr: ClassVar[Rate] = Rate(classification=0.1, regression=0.01)

    inner_steps: int = 5
    test_steps: int = 10
