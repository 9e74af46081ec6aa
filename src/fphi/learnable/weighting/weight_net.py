"""The weighting network of Meta-Weight-Net: from an example's loss to how much it counts.

Shu, Xie, Yi, Zhao, Zhou, Xu, Meng, NeurIPS 2019, arXiv 1902.07379.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fphi.ranges import checked

__all__ = ["WeightNet"]


class WeightNet(nn.Module):
    """V(L; Θ): one hidden layer of ReLUs and a sigmoid, 301 parameters with the paper's 100 units.

    Args:
        hidden: units of the hidden layer.

    >>> sum(p.numel() for p in WeightNet().parameters())
    301
    """

    @checked()
    def __init__(self, hidden: int = 100) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(1, hidden), nn.ReLU(), nn.Linear(hidden, 1), nn.Sigmoid())

    def forward(self, losses: Tensor) -> Tensor:
        """Losses ``[n]`` to weights ``[n]`` from 0 to 1; it is no function of what the losses depend on."""
        weights: Tensor = self.body(losses.detach()[:, None]).squeeze(1)
        return weights

    @torch.no_grad()
    def curve(self, losses: Sequence[float]) -> list[float]:
        """The weight of an example of each of these losses."""
        at = next(self.parameters())
        weights: list[float] = self(torch.tensor(losses, dtype=at.dtype, device=at.device)).tolist()
        return weights
