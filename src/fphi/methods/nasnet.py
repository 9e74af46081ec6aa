"""NASNet: an LSTM emits a normal and a reduction cell, and learns by PPO.

1. Learnable: the parameters of a controller that emits architectures.
2. Loss: the error on validation data after a short training; the reward is the accuracy.
3. Optimize: by reinforcement learning.
"""

from dataclasses import dataclass
from typing import ClassVar

from fphi.methods.families.controlling import ControllerMethod
from fphi.methods.table import method

__all__ = ["NASNet"]


@method(
    "nasnet",
    paper="Zoph, Vasudevan, Shlens, Le: Learning Transferable Architectures, CVPR 2018",
    arxiv="1707.07012",
)
@dataclass(frozen=True)
class NASNet(ControllerMethod):
    """Cells are sought in a small network and stacked to a large one."""

    usual_space: ClassVar[str] = "cells"
    usual_evaluations: ClassVar[int] = 12
    paper_budget: ClassVar[str] = "20,000 children: --evaluations 20000 --lr 0.00035 --batch 20"
