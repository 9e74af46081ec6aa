"""Losses that shape an embedding: contrastive, triplet, and the softmaxes with a margin.

The first two look at distances between embedded examples, the others at the cosine between an example
and each class. All are pure functions that `torch.func.vmap` can take over tasks.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["additive_margin", "arcface", "contrastive_loss", "sphereface", "triplet_loss"]

Mining = Literal["semi-hard", "hardest", "all"]


def contrastive_loss(embedded: Tensor, labels: Tensor, margin: float = 1.0) -> Tensor:
    """Pull pairs of a class together, push others ``margin`` apart (Hadsell, Chopra, LeCun 2006).

    ½ d² for two of one class and ½ max(0, margin - d)² for two of different ones, d the Euclidean
    distance; the mean over pairs of one class plus that over the others, halved.

    Args:
        embedded: ``[n, d]``.
        labels: ``[n]``, at least two of one class and two classes.
        margin: distance from which two of different classes cost nothing.
    """
    apart = _squared_distances(embedded)
    pair = ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    same = labels[:, None] == labels[None]
    # The root's slope at 0 is infinite: equal embeddings are kept off it.
    short = (margin - apart.clamp_min(1e-12).sqrt()).clamp_min(0).square()
    return (_mean_where(apart, same & pair) + _mean_where(short, ~same)) / 4


def triplet_loss(
    embedded: Tensor, labels: Tensor, margin: float = 0.2, mining: Mining = "semi-hard"
) -> Tensor:
    """max(0, d(a, p) - d(a, n) + margin) with squared distances (FaceNet: Schroff et al. 2015, 1503.03832).

    Args:
        embedded: ``[n, d]``, on the unit sphere in the paper.
        labels: ``[n]``.
        margin: how much farther than the positive the negative is to be.
        mining: the negatives of a pair (anchor, positive): ``"semi-hard"`` the nearest that is farther than
            the positive, and where none is the farthest; ``"hardest"`` the nearest of all, which can
            collapse everything into one point; ``"all"`` each of them,
            which holds n³ numbers.
    """
    apart = _squared_distances(embedded)
    same = labels[:, None] == labels[None]
    positive = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    if mining == "all":
        loss = (apart[:, :, None] - apart[:, None, :] + margin).clamp_min(0)
        return _mean_where(loss, positive[:, :, None] & ~same[:, None, :])
    hardest = apart.masked_fill(same, torch.inf).argmin(1, keepdim=True).expand(same.shape)
    negative = apart.gather(1, hardest if mining == "hardest" else _semi_hard(apart, same))
    return _mean_where((apart - negative + margin).clamp_min(0), positive & (~same).any(1, keepdim=True))


@torch.no_grad()
def _semi_hard(apart: Tensor, same: Tensor) -> Tensor:
    """``[a, p]``: which example is the negative. Anchor by anchor: all at once would hold n³ numbers."""
    return torch.stack([_nearest_farther(*row) for row in zip(apart, same, strict=True)])


def _nearest_farther(apart: Tensor, same: Tensor) -> Tensor:
    """For one anchor and each positive ``[p]``: the nearest negative beyond it, or the farthest of all."""
    farther = ~same & (apart > apart[:, None])  # [p, n]
    nearest = apart.expand(farther.shape).masked_fill(~farther, torch.inf).argmin(1)
    return torch.where(farther.any(1), nearest, apart.masked_fill(same, -torch.inf).argmax())


def _squared_distances(embedded: Tensor) -> Tensor:
    return (embedded[:, None] - embedded[None]).square().sum(-1)


def _mean_where(values: Tensor, chosen: Tensor) -> Tensor:
    """The mean over the chosen; 0 where there are none."""
    return torch.where(chosen, values, 0).sum() / chosen.sum().clamp_min(1)


def additive_margin(cosines: Tensor, labels: Tensor, margin: float = 0.35) -> Tensor:
    """The right class gets cos θ - m (AM-Softmax, CosFace: Wang et al. 2018, 1801.05599).

    Here and below: ``cosines: [n, classes]`` to cosines with the margin, which are scaled and go into a
    cross-entropy.
    """
    return cosines - margin * _right(cosines, labels)


def arcface(cosines: Tensor, labels: Tensor, margin: float = 0.5) -> Tensor:
    """The right class gets cos(θ + m) (ArcFace: Deng et al. 2019, 1801.07698).

    Beyond θ = π - m the cosine would rise again; there cos θ - m sin m goes on falling.
    """
    sine = (1 - cosines.square()).clamp_min(1e-12).sqrt()
    turned = cosines * math.cos(margin) - sine * math.sin(margin)
    beyond = cosines - margin * math.sin(margin)
    falling = torch.where(cosines > -math.cos(margin), turned, beyond)
    return torch.where(_right(cosines, labels).bool(), falling, cosines)


def sphereface(cosines: Tensor, labels: Tensor, margin: int = 4, plain: float = 5.0) -> Tensor:
    """The right class gets ψ(θ) = (-1)ᵏ cos(mθ) - 2k, θ in [kπ/m, (k+1)π/m] (SphereFace).

    Liu et al. 2017, 1704.08063. Alone it hardly trains; the authors average it with cos θ, whose weight
    ``plain`` they let fall to 5. The polynomial of Chebyshev gives cos(mθ) from cos θ without the arc
    cosine, whose slope is infinite.
    """
    before, multiple = torch.ones_like(cosines), cosines
    for _ in range(margin - 1):
        before, multiple = multiple, 2 * cosines * multiple - before
    angle = cosines.detach().clamp(-1, 1).acos()
    k = (angle * margin / math.pi).floor().clamp_max(margin - 1)
    psi = (1 - 2 * (k % 2)) * multiple - 2 * k
    return torch.where(_right(cosines, labels).bool(), (plain * cosines + psi) / (1 + plain), cosines)


def _right(cosines: Tensor, labels: Tensor) -> Tensor:
    return F.one_hot(labels, cosines.shape[-1]).to(cosines.dtype)
