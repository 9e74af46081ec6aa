"""Learning to reweight: an example counts as much as a step along it would lower the loss of the clean ones.

1. Learnable: a weight for each example of a minibatch, anew in each step.
2. Loss: that of clean examples, after a step on the weighted ones.
3. Optimize: one gradient, at weights of 0; what is below 0 becomes 0, and the rest is scaled to a sum of 1.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from fphi.methods.families.weighting import WeightingMethod
from fphi.methods.table import method
from fphi.optimize.reweighting import Form, Reweight
from fphi.optimize.weighting import Weighting

__all__ = ["LearningToReweight"]


@method(
    "reweight",
    paper="Ren, Zeng, Yang, Urtasun: Learning to Reweight Examples for Robust Deep Learning, ICML 2018",
    arxiv="1803.09050",
)
@dataclass(frozen=True)
class LearningToReweight(WeightingMethod):
    """Weights that are functions of a minibatch, and of the clean examples beside it.

    Args:
        form: of the gradient: product (of two gradients), or unrolled, by the step that it is derived from;
            both give the same, the products faster.
    """

    paper_training: ClassVar[str] = (
        "ResNet-32 on CIFAR-10 for 80,000 steps: --data cifar10 --network resnet32 --clean-examples 1000 "
        "--epochs 163 --lr 0.1 --weight-decay 0.0002"
    )

    form: Form = "product"

    def begin(self, module: nn.Module, optimizer: torch.optim.Optimizer) -> Weighting:
        return Reweight(module, optimizer, form=self.form)
