"""Where the channels of a map are in memory."""

import torch
from torch import Tensor

__all__ = ["channels_last"]


def channels_last(x: Tensor) -> Tensor:
    """The same images ``[n, C, H, W]``, a pixel's channels side by side, as are maps made of them.

    On a CPU torch's convolutions and batch norms are twice as fast so, convolutions of single channels three
    times, and pooling ten times. What ``torch.func`` maps over many filters stays as it is.
    """
    if torch._C._functorch.is_functorch_wrapped_tensor(x):
        return x
    n, channels, height, width = x.shape
    # One channel is side by side in any order, and torch has to be told that it is meant so.
    pixels = x.reshape(n, height, width, 1) if channels == 1 else x.permute(0, 2, 3, 1).contiguous()
    return pixels.permute(0, 3, 1, 2)
