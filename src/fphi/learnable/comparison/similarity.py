"""How alike two embeddings are."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fphi.ranges import Range, checked

__all__ = ["Distance", "Similarity"]

Distance = Literal["euclidean", "cosine"]


class Similarity(nn.Module):
    """Minus the squared Euclidean distance, or the cosine times a learned scale.

    A cosine lies in [-1, 1], so a softmax of bare cosines never comes near 0 or 1: among 5 ways the
    best answer has 0.40, and the loss a floor of 0.90. The scale (an inverse temperature, learned as its
    logarithm) takes that bound away.

    Args:
        distance: ``"euclidean"`` means the squared distance.
        scale: first scale of the cosines.
    """

    @checked(scale=Range(0, open=True))
    def __init__(self, distance: Distance = "euclidean", scale: float = 10.0) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale))) if distance == "cosine" else None

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Similarities ``[B, Q, n]`` of ``queries: [B, Q, d]`` and ``keys: [B, n, d]``."""
        if self.log_scale is None:
            return -(queries.unsqueeze(2) - keys.unsqueeze(1)).square().sum(-1)
        return self.log_scale.exp() * (F.normalize(queries, dim=-1) @ F.normalize(keys, dim=-1).mT)
