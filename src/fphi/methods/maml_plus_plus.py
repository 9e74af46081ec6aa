"""MAML++: MAML with what makes its training stable.

1. Learnable: the initial parameters φ = θ⁰; for each inner step a learning rate of each tensor, and the scale
   and shift of each norm layer.
2. Loss: the query loss after the inner steps; at first that after each of them, weighted.
3. Optimize: by gradient, with a learning rate that falls along a cosine; of first order at first, if asked.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from fphi.methods.base import Usual
from fphi.methods.families.networks import Rate
from fphi.methods.maml import MAML
from fphi.methods.table import method
from fphi.networks.batch_norm import Mode
from fphi.ranges import number

__all__ = ["MAMLPlusPlus"]


@method(
    "maml++",
    paper="Antoniou, Edwards, Storkey: How to Train Your MAML, ICLR 2019",
    arxiv="1810.09502",
)
@dataclass(frozen=True)
class MAMLPlusPlus(MAML):
    """MAML whose training is more stable: five changes, each an option of MAML, ANIL and FOMAML too.

    They are ``multi_step`` (the loss after every step), ``first_order`` (no second derivatives at first),
    ``norm`` (``per-step``: scales and shifts of each step; ``per-step-running``: statistics too, so that
    answers are inductive), ``learned_rates`` and ``schedule`` (cosine). With these five at MAML's values it
    is MAML. Second derivatives are there from the start, as in the authors' configurations: ``first_order``
    saves time, and makes learned rates of a squared error unstable.
    """

    usual: ClassVar[Usual] = Usual(
        steps=300,
        meta_batch=16,
        paper="100 epochs of 500 steps of 8 tasks: --steps 50000 --meta-batch 8",
        regression_steps=400,
    )
    usual_inner_lr: ClassVar[Rate] = Rate(classification=0.1, regression=0.01)

    multi_step: float = number(0.1, 0, 1)
    inner_steps: int = 5
    test_steps: int = 5
    norm: Mode = "per-step"
    learned_rates: Literal["none", "all", "tensor", "tensor+step"] = "tensor+step"
