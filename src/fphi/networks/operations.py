"""The operations that architectures are searched among, by name: images ``[n, C, H, W]`` to images."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.networks.channels_last import Convolution

__all__ = ["OPERATIONS", "FactorizedReduce", "Norm", "Zero", "batch_statistics", "conv_block", "operation"]

# Of a number of channels, a normalisation: ``nn.BatchNorm2d``, or fphi's own for few-shot learners.
Norm = Callable[[int], nn.Module]

# Of channels in and out, stride, normalisation.
_Builder = Callable[[int, int, int, Norm], nn.Module]


def batch_statistics(channels: int) -> nn.Module:
    """A batch norm that always uses batch statistics and learns no scale: what shared weights need."""
    return nn.BatchNorm2d(channels, affine=False, track_running_stats=False)


def operation(
    name: str, channels_in: int, channels_out: int, stride: int = 1, norm: Norm = nn.BatchNorm2d
) -> nn.Module:
    """The operation ``name``; padding keeps the size, which the stride divides, rounding up.

    Raises:
        FphiError: there is no such operation.
    """
    if name not in OPERATIONS:
        raise FphiError(f"unknown operation {name!r}: choose one of {', '.join(OPERATIONS)}")
    return OPERATIONS[name](channels_in, channels_out, stride, norm)


class Zero(nn.Module):
    """No connection: zeros of the size that the other operations have."""

    def __init__(self, channels_out: int, stride: int) -> None:
        super().__init__()
        self.channels_out, self.stride = channels_out, stride

    def forward(self, x: Tensor) -> Tensor:
        height, width = (-(-size // self.stride) for size in x.shape[-2:])
        return x.new_zeros(x.shape[0], self.channels_out, height, width)


class FactorizedReduce(nn.Module):
    """Half the size without losing every second pixel: two 1x1 convolutions, one shifted by a pixel.

    A single channel has the shifted one alone.
    """

    def __init__(self, channels_in: int, channels_out: int, norm: Norm = nn.BatchNorm2d) -> None:
        super().__init__()
        half = channels_out // 2
        self.even = Convolution(channels_in, half, 1, stride=2, bias=False) if half else None
        self.odd = Convolution(channels_in, channels_out - half, 1, stride=2, bias=False)
        self.norm = norm(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        x = x.relu()
        shifted = nn.functional.pad(x, (0, 1, 0, 1))[..., 1:, 1:]
        halves = [self.odd(shifted)] if self.even is None else [self.even(x), self.odd(shifted)]
        out: Tensor = self.norm(torch.cat(halves, 1))
        return out


def conv_block(
    channels_in: int,
    channels_out: int,
    size: int | tuple[int, int],
    stride: int = 1,
    norm: Norm = nn.BatchNorm2d,
) -> nn.Sequential:
    """ReLU, convolution, normalisation."""
    sizes = (size, size) if isinstance(size, int) else size
    padding = (sizes[0] // 2, sizes[1] // 2)
    return nn.Sequential(
        nn.ReLU(),
        Convolution(channels_in, channels_out, sizes, stride, padding, bias=False),
        norm(channels_out),
    )


def _convolution(size: int, ci: int, co: int, stride: int, norm: Norm) -> nn.Module:
    return conv_block(ci, co, size, stride, norm)


def _crossed(size: int, ci: int, co: int, stride: int, norm: Norm) -> nn.Module:
    """1 x size, then size x 1; the stride is in the direction of each."""
    pad = size // 2
    return nn.Sequential(
        nn.ReLU(),
        Convolution(ci, co, (1, size), (1, stride), (0, pad), bias=False),
        Convolution(co, co, (size, 1), (stride, 1), (pad, 0), bias=False),
        norm(co),
    )


def _depthwise(size: int, ci: int, co: int, stride: int, norm: Norm, dilation: int = 1) -> nn.Sequential:
    """ReLU, a filter for each channel, a 1x1 convolution, normalisation."""
    pad = dilation * (size // 2)
    return nn.Sequential(
        nn.ReLU(),
        Convolution(ci, ci, size, stride, pad, dilation, groups=ci, bias=False),
        Convolution(ci, co, 1, bias=False),
        norm(co),
    )


def _separable(size: int, ci: int, co: int, stride: int, norm: Norm) -> nn.Module:
    """Twice depthwise and pointwise, as all the papers have it; the first time with the stride."""
    return nn.Sequential(*_depthwise(size, ci, ci, stride, norm), *_depthwise(size, ci, co, 1, norm))


def _pool(kind: str, size: int, ci: int, co: int, stride: int, norm: Norm) -> nn.Module:
    """Pooling, normalisation; with a 1x1 convolution before it where the channels change."""
    pool = (
        nn.MaxPool2d(size, stride, size // 2)
        if kind == "max"
        else nn.AvgPool2d(size, stride, size // 2, count_include_pad=False)
    )
    adapted = [] if ci == co else [conv_block(ci, co, 1, 1, norm)]
    return nn.Sequential(*adapted, pool, norm(co))


def _identity(ci: int, co: int, stride: int, norm: Norm) -> nn.Module:
    if stride == 1:
        return nn.Identity() if ci == co else conv_block(ci, co, 1, 1, norm)
    return FactorizedReduce(ci, co, norm)


def _none(ci: int, co: int, stride: int, norm: Norm) -> nn.Module:
    return Zero(co, stride)


def _one_depthwise(ci: int, co: int, stride: int, norm: Norm) -> nn.Module:
    """A 3x3 filter for each channel and nothing else, where the channels stay."""
    if ci != co:
        return _depthwise(3, ci, co, stride, norm)
    return nn.Sequential(nn.ReLU(), Convolution(ci, ci, 3, stride, 1, groups=ci, bias=False), norm(ci))


OPERATIONS: dict[str, _Builder] = {
    "none": _none,
    "identity": _identity,
    "conv_1x1": partial(_convolution, 1),
    "conv_3x3": partial(_convolution, 3),
    "conv_5x5": partial(_convolution, 5),
    "conv_1x3_3x1": partial(_crossed, 3),
    "conv_1x7_7x1": partial(_crossed, 7),
    "depthwise_3x3": _one_depthwise,
    "separable_3x3": partial(_separable, 3),
    "separable_5x5": partial(_separable, 5),
    "separable_7x7": partial(_separable, 7),
    "dilated_3x3": partial(_depthwise, 3, dilation=2),
    "dilated_5x5": partial(_depthwise, 5, dilation=2),
    "max_pool_3x3": partial(_pool, "max", 3),
    "max_pool_5x5": partial(_pool, "max", 5),
    "max_pool_7x7": partial(_pool, "max", 7),
    "avg_pool_3x3": partial(_pool, "avg", 3),
}
