"""Where the channels of a map are in memory."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Convolution", "channels_last"]


class Convolution(nn.Conv2d):
    """``nn.Conv2d`` on maps whose channels may lie side by side.

    There, on a processor with AVX2, torch 2.13 writes beyond the end of a gradient's memory where a filter of
    1x1 pixels has a stride and few inputs, and the process crashes later. So the pixels that such a filter
    sees are taken first.
    """

    def forward(self, input: Tensor) -> Tensor:
        """``[n, C, H, W]`` to ``[n, O, H', W']``."""
        if self.kernel_size != (1, 1) or self.stride == (1, 1) or self.padding != (0, 0):
            return super().forward(input)
        down, right = self.stride
        return F.conv2d(input[:, :, ::down, ::right], self.weight, self.bias, groups=self.groups)


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
