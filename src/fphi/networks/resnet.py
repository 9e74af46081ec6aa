"""The residual network for small images."""

import torch
from torch import Tensor, nn

from fphi.networks.channels_last import channels_last
from fphi.networks.operations import Norm
from fphi.ranges import checked

__all__ = ["ResNet"]


class _Block(nn.Module):
    """Two convolutions beside a shortcut, which subsamples and pads with zeros where the sizes differ."""

    def __init__(self, channels: int, filters: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.stride, self.added = stride, filters - channels
        self.body = nn.Sequential(
            nn.Conv2d(channels, filters, 3, stride, 1, bias=False),
            norm(filters),
            nn.ReLU(),
            nn.Conv2d(filters, filters, 3, 1, 1, bias=False),
            norm(filters),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``[n, channels, H, W]`` to ``[n, filters, H / stride, W / stride]``, rounded up."""
        beside = x[:, :, :: self.stride, :: self.stride]
        padded = nn.functional.pad(beside, (0, 0, 0, 0, 0, self.added))
        return torch.relu(self.body(x) + padded)


class ResNet(nn.Module):
    """Three stages of residual blocks, 6 · ``blocks`` + 2 layers deep.

    He, Zhang, Ren, Sun, CVPR 2016, arXiv 1512.03385; for small images as in its section 4.2.

    Args:
        outputs: classes.
        channels: of an image.
        filters: of the first stage; each later one halves the sides and has twice as many (paper: 16).
        blocks: of each stage; 5 give ResNet-32.
        norm: after each convolution.
    """

    @checked()
    def __init__(
        self, outputs: int, channels: int = 3, filters: int = 16, blocks: int = 1, norm: Norm = nn.BatchNorm2d
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels, filters, 3, 1, 1, bias=False), norm(filters), nn.ReLU())
        stages: list[nn.Module] = []
        before = filters
        for stage in range(3):
            width = filters * 2**stage
            for block in range(blocks):
                stages.append(_Block(before, width, 2 if stage and not block else 1, norm))
                before = width
        self.body = nn.Sequential(*stages)
        self.head = nn.Linear(before, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """``[n, channels, H, W]`` to ``[n, outputs]``."""
        logits: Tensor = self.head(self.body(self.stem(channels_last(x))).mean((2, 3)))
        return logits
