"""Standardise a sequence by what it has shown so far."""

import torch
from torch import Tensor, nn

from fphi.ranges import checked

__all__ = ["OnlineStandardisation"]

_LEAST_VARIANCE = 1e-4


class OnlineStandardisation(nn.Module):
    """Each feature of item t less its mean over items 0..t, divided by its standard deviation over them.

    Embeddings of different classes have most of their length in common. What reads them by their
    cosines, or through the gates of an LSTM, must first learn to take that away. Batch statistics would
    do it too, but those of a whole sequence tell of its future, and those of training tasks do not fit a
    task of few classes.

    A mean and a variance that are learned count as so many items before the first.

    Args:
        size: features of an item.
        weight: items that what is learned counts as.

    >>> standardise = OnlineStandardisation(1, weight=1.0)  # as if 0 were seen, with variance 1
    >>> standardise(torch.tensor([[[2.0]]]), torch.tensor([[[1.0]]]))[0]  # mean 1, mean square 5/2
    tensor([[[0.8165]]], grad_fn=<MulBackward0>)
    """

    @checked()
    def __init__(self, size: int, weight: float = 5.0) -> None:
        super().__init__()
        self.weight = weight
        self.mean = nn.Parameter(torch.zeros(size))
        self.log_variance = nn.Parameter(torch.zeros(size))

    def forward(self, past: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """``past: [B, T, size]``, and each of ``last: [B, Q, size]`` as if it alone followed the past."""
        length = past.shape[1]
        square = self.log_variance.exp() + self.mean.square()
        sums = past.cumsum(1) + self.weight * self.mean
        squares = past.square().cumsum(1) + self.weight * square
        counts = self.weight + torch.arange(1, length + 1, device=past.device, dtype=past.dtype)[:, None]
        end, end_square = sums[:, -1:] + last, squares[:, -1:] + last.square()
        count = self.weight + length + 1
        return (
            _standardised(past, sums / counts, squares / counts),
            _standardised(last, end / count, end_square / count),
        )


def _standardised(x: Tensor, mean: Tensor, square: Tensor) -> Tensor:
    return (x - mean) * (square - mean.square()).clamp_min(_LEAST_VARIANCE).rsqrt()
