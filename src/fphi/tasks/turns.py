"""The eight ways to see a square image: its quarter turns, and those of its mirror image."""

from torch import Tensor

__all__ = ["turned"]


def turned(images: Tensor, turn: int) -> Tensor:
    """Images ``[..., H, W]``, turned counter-clockwise by ``turn % 4`` quarters; mirrored first from 4 on.

    >>> import torch
    >>> turned(torch.tensor([[1, 2], [3, 4]]), 1).tolist(), turned(torch.tensor([[1, 2], [3, 4]]), 4).tolist()
    ([[2, 4], [1, 3]], [[2, 1], [4, 3]])
    """
    return (images.flip(-1) if turn >= 4 else images).rot90(turn % 4, (-2, -1))
