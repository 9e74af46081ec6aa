"""A convolution block of one task: 3x3 convolution, batch norm, ReLU and perhaps 2x2 max-pool."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad

from fphi.native.convolution import Geometry, convolve
from fphi.native.first_layer import first_layer, patch_moments
from fphi.native.library import library
from fphi.native.norm_pool import NormPool, norm_pool

__all__ = ["Block", "conv_block", "covers"]

_MULTIPLE = 16  # the kernels write output channels by cache lines


class Block(NamedTuple):
    """What the block is, besides its parameters.

    Args:
        geometry: of the convolution.
        norm: of what comes after it.
    """

    geometry: Geometry
    norm: NormPool


def covers(x: Tensor, weight: Tensor, block: Block) -> bool:
    """Whether the kernels compute this block, of ``x: [n, C, H, W]``; else it is for PyTorch."""
    return (
        library() is not None
        and x.dim() == 4
        and weight.shape[0] % _MULTIPLE == 0
        and weight.shape[1:] == (x.shape[1], 3, 3)
        and x.dtype == weight.dtype
        and x.dtype in (torch.float32, torch.float64)
        and len(x) > 0
        and min(map(block.geometry.outcome, x.shape[2:])) >= block.norm.window
        and _is_ordinary(x)
        and _is_ordinary(weight)
    )


def _is_ordinary(tensor: Tensor) -> bool:
    """Whether the numbers lie in this computer's memory, and only autograd follows what becomes of them."""
    return (
        tensor.device.type == "cpu"
        and type(tensor) in (Tensor, torch.nn.Parameter)
        and forward_ad._current_level < 0
        and not torch.is_autocast_enabled("cpu")
        and not torch._C._get_tracing_state()
        and not torch.compiler.is_compiling()
    )


def conv_block(
    x: Tensor,
    weight: Tensor,
    scale: Tensor,
    shift: Tensor,
    given: tuple[Tensor, Tensor] | None,
    block: Block,
) -> Tensor:
    """``x: [n, C, H, W]`` to ``[n, O, h, w]``, both best in memory as ``channels_last`` has them.

    Args:
        x: see above.
        weight: ``[O, C, 3, 3]``.
        scale: of the batch norm, ``[O]``.
        shift: of the batch norm, ``[O]``.
        given: mean and 1/deviation ``[O]`` to normalise with, constants; None: those of the rows that
            ``block.norm.own`` counts.
        block: what is computed, one that `covers` this.
    """
    if block.norm.window == 2 and block.geometry == (1, 1) and x.shape[1] == 1 and not _needs_gradient(x):
        y = _first(x, weight.flatten(1), scale, shift, given, block.norm)
    else:
        z = convolve(x.permute(0, 2, 3, 1)[None], weight[None], block.geometry)
        statistics = None if given is None else (given[0][None], given[1][None])
        y = norm_pool(z, scale[None], shift[None], statistics, block.norm)
    return y[0].permute(0, 3, 1, 2)


def _first(
    x: Tensor,
    weight: Tensor,
    scale: Tensor,
    shift: Tensor,
    given: tuple[Tensor, Tensor] | None,
    norm: NormPool,
) -> Tensor:
    """The block on data: its normalisation is multiplied into the filters beforehand."""
    padded = F.pad(x[:, 0], (1, 1, 1, 1))[None]
    if given is None:
        center, covariance = (a[0] for a in patch_moments(padded, norm.own))
        mean = weight @ center
        rstd = (((weight @ covariance) * weight).sum(1).clamp_min(0) + norm.eps).rsqrt()
    else:
        mean, rstd = given
    scale = scale * rstd
    u = torch.cat([(shift - mean * scale)[:, None], scale[:, None] * weight], 1).mT
    return first_layer(padded, u[None])


def _needs_gradient(x: Tensor) -> bool:
    functorch = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(x):
        x = functorch.get_unwrapped(x)
    return x.requires_grad
