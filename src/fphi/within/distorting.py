"""Random changes of training images ``[n, channels, height, width]``, each image its own."""

import torch
from torch import Tensor
from torch.nn.functional import pad

__all__ = ["cut_out", "mirrored", "shifted"]


def shifted(x: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Each image moved by -most … most pixels in both directions."""
    n, _, height, width = x.shape
    padded = pad(x, (most, most, most, most))
    down, right = torch.randint(2 * most + 1, (2, n), generator=generator)
    rows = (down[:, None] + torch.arange(height))[:, None, :, None]
    columns = (right[:, None] + torch.arange(width))[:, None, None, :]
    channels = torch.arange(x.shape[1])[None, :, None, None]
    return padded[torch.arange(n)[:, None, None, None], channels, rows, columns]


def mirrored(x: Tensor, generator: torch.Generator) -> Tensor:
    mirrored = torch.randint(2, (len(x), 1, 1, 1), generator=generator).bool()
    return torch.where(mirrored, x.flip(-1), x)


def cut_out(x: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """A square of zeros in each image, its centre anywhere: it may reach over the border."""
    inside = []
    for size in x.shape[-2:]:
        start = torch.randint(size, (len(x), 1), generator=generator) - side // 2
        inside.append((torch.arange(size) >= start) & (torch.arange(size) < start + side))
    hole = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return x.masked_fill(hole, 0.0)
