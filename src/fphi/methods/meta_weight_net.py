"""Meta-Weight-Net: a small network of an example's loss says how much it counts.

1. Learnable: the parameters of that network, 301 of them.
2. Loss: that of clean examples, after a step on the weighted ones.
3. Optimize: by gradient, Adam, through the step that the network is about to take.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import nn

from fphi.learnable.weighting import WeightNet
from fphi.methods.families.weighting import WeightingMethod
from fphi.methods.table import method
from fphi.optimize.meta_weight_net import DivideBy, MetaWeightNet
from fphi.optimize.weighting import Weighting
from fphi.ranges import count, rate, weight

__all__ = ["MetaWeightNetMethod"]


@method(
    "meta-weight-net",
    paper="Shu, Xie, Yi, Zhao, Zhou, Xu, Meng: Meta-Weight-Net, NeurIPS 2019",
    arxiv="1902.07379",
)
@dataclass(frozen=True)
class MetaWeightNetMethod(WeightingMethod):
    """The same weight for all examples of the same loss; what it is, the clean examples teach.

    In a short training the weighting network has to know wrong labels before the network knows them by heart,
    so it learns fast.

    Args:
        weight_lr: Adam's learning rate for the weighting network (paper: 0.001, for 60,000 steps).
        weight_net_decay: its weight decay.
        weight_net_units: of its hidden layer.
        divide_by: of the weighted losses of a minibatch: their number, or the sum of the weights, which then
            decide only which examples a step is for, not how long it is.
        derivative: of the losses: exact, or by a difference, faster for convolutions and norm layers.
    """

    paper_training: ClassVar[str] = (
        "WRN-28-10 or ResNet-32 on CIFAR-10 for 60,000 steps: --data cifar10 --network resnet32 "
        "--clean-examples 1000 --epochs 120 --lr 0.1 --weight-lr 0.001"
    )

    weight_lr: float = rate(0.03)
    weight_net_decay: float = weight(1e-4)
    weight_net_units: int = count(100, 10_000)
    divide_by: DivideBy = "number"
    derivative: Literal["exact", "difference"] = "exact"

    def begin(self, module: nn.Module, optimizer: torch.optim.Optimizer) -> Weighting:
        like = next(module.parameters())
        return MetaWeightNet(
            module,
            optimizer,
            net=WeightNet(self.weight_net_units).to(like.device, like.dtype),
            lr=self.weight_lr,
            weight_decay=self.weight_net_decay,
            divide_by=self.divide_by,
            derivative=self.derivative,
        )
