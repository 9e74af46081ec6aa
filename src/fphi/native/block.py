"""A convolution block of one task: 3x3 convolution, batch norm, ReLU and perhaps 2x2 max-pool."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._functorch.pyfunctorch import VmapInterpreter
from torch.autograd import forward_ad
from torch.utils._python_dispatch import _get_current_dispatch_mode

from fphi.native.convolution import Geometry, convolve
from fphi.native.first_layer import PLANES, first_layer, patch_moments
from fphi.native.library import library
from fphi.native.norm_pool import NormPool, norm_pool

__all__ = ["Block", "Norm", "conv3x3", "conv_block", "covers", "normalised", "observed_block"]

_MULTIPLE = 16  # the kernels write output channels by cache lines


@dataclass(frozen=True, slots=True)
class Block:
    """What the block is, besides its parameters.

    Args:
        geometry: of the convolution.
        norm: of what comes after it.
    """

    geometry: Geometry
    norm: NormPool


class Norm(NamedTuple):
    """Scale and shift ``[O]`` of a batch norm, and perhaps its statistics.

    Args:
        scale: see above.
        shift: see above.
        given: mean and 1/deviation ``[O]``, constants; None: those of the rows that ``NormPool.own`` counts.
    """

    scale: Tensor
    shift: Tensor
    given: tuple[Tensor, Tensor] | None = None


def covers(x: Tensor, weight: Tensor, norm: Norm, block: Block) -> bool:
    """Whether the kernels compute this block, of ``x: [n, C, H, W]``; else it is for PyTorch."""
    return (
        not torch.compiler.is_compiling()  # the compiler cannot follow the question for the library
        and library() is not None
        and x.dim() == 4
        and weight.shape[0] % _MULTIPLE == 0
        and weight.shape[1:] == (x.shape[1], 3, 3)
        and x.dtype in (torch.float32, torch.float64)
        and len(x) > 0
        and (norm.given is None) == (block.norm.own > 0)
        and min(map(block.geometry.outcome, x.shape[2:])) >= block.norm.window
        and _is_followed_by_autograd_alone()
        and _are_alike(x, weight)
        and _is_of(norm, weight)
    )


def _is_of(norm: Norm, weight: Tensor) -> bool:
    """Whether it has a number for each channel, and statistics that no derivative is taken by."""
    constants = norm.given or ()
    return (
        all(a.shape == weight.shape[:1] for a in (norm.scale, norm.shift, *constants))
        and _are_alike(weight, norm.scale, norm.shift, *constants)
        and not any(map(_needs_gradient, constants))
    )


def _are_alike(*tensors: Tensor) -> bool:
    """Whether all are plain tensors of one type in this computer's memory."""
    dtype = tensors[0].dtype
    return all(
        a.dtype == dtype and a.device.type == "cpu" and type(a) in (Tensor, torch.nn.Parameter)
        for a in tensors
    )


def _is_followed_by_autograd_alone() -> bool:
    return (
        forward_ad._current_level < 0
        and not torch.is_autocast_enabled("cpu")
        and not torch._C._get_tracing_state()
        and _get_current_dispatch_mode() is None  # one that records or counts torch's operations
    )


def conv_block(x: Tensor, weight: Tensor, norm: Norm, block: Block) -> Tensor:
    """``x: [n, C, H, W]`` to ``[n, O, h, w]``, both best in memory as ``channels_last`` has them.

    Args:
        x: see above.
        weight: ``[O, C, 3, 3]``.
        norm: what the outcome of the convolution is normalised with.
        block: what is computed, one that `covers` this.
    """
    given = (x, weight, norm.scale, norm.shift, *(norm.given or ()))
    vmap = _innermost_batch_of(given)
    if vmap is not None:
        return _batched(vmap, block, given)
    return _of_tasks(block, *(a[None] for a in given))[0][0]


def observed_block(x: Tensor, weight: Tensor, norm: Norm, block: Block) -> tuple[Tensor, Tensor, Tensor]:
    """`conv_block`, and the mean and 1/deviation ``[O]`` that it normalised with, as constants."""
    y, mean, rstd = _of_tasks(
        block, *(a[None] for a in (x, weight, norm.scale, norm.shift, *(norm.given or ())))
    )
    return y[0], mean[0].detach(), rstd[0].detach()


def _innermost_batch_of(operands: tuple[Tensor, ...]) -> VmapInterpreter | None:
    """The innermost transform of ``torch.func`` if it is a ``vmap`` that batches one of them.

    Where it is one that takes derivatives, the batch is further out: each kernel then merges it for itself.
    """
    functorch = torch._C._functorch
    innermost = functorch.peek_interpreter_stack()
    if innermost is None or innermost.key() != functorch.TransformType.Vmap:
        return None
    if not any(functorch.maybe_get_level(a) == innermost.level() for a in operands):
        return None
    return VmapInterpreter(innermost)


def _batched(vmap: VmapInterpreter, block: Block, given: tuple[Tensor, ...]) -> Tensor:
    """`conv_block` under ``vmap``, whose batch is merged with the task dimension once for the whole block.

    By hand: torch takes as long as a small kernel to find and call the rule of a ``Function``.
    """
    level, size = vmap.level(), vmap.batch_size()
    found = [torch._C._functorch._unwrap_batched(a, level) for a in given]
    with vmap.lower():
        weight, at = found[1]
        weight = weight[None] if at is None else weight.movedim(at, 0)
        x, *rest = (
            a.expand(size, *a.shape) if dim is None else a.movedim(dim, 0)
            for a, dim in (found[0], *found[2:])
        )
        y = _of_tasks(block, x, weight, *rest)[0]
    return torch._C._functorch._add_batch_dim(y, 0, level)


def _of_tasks(
    block: Block, x: Tensor, weight: Tensor, scale: Tensor, shift: Tensor, *given: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """``x: [T, n, C, H, W]`` to ``[T, n, O, h, w]``; one filter for all, or one for each task.

    With it come mean and 1/deviation ``[T, O]`` that it was normalised with.
    """
    stride, padding = block.geometry.stride, block.geometry.padding
    statistics = (given[0], given[1]) if given else None
    if block.norm.window == 2 and stride == 1 and x.shape[2] in PLANES and not _needs_gradient(x):
        padded = F.pad(x, (padding,) * 4) if padding else x
        y, mean, rstd = _first(padded, weight, scale, shift, statistics, block.norm)
    else:
        z = convolve(x.permute(0, 1, 3, 4, 2), weight, block.geometry)
        y, mean, rstd = norm_pool(z, scale, shift, statistics, block.norm)
    return y.permute(0, 1, 4, 2, 3), mean, rstd


def conv3x3(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """``x: [n, C, H, W]`` to ``[n, O, H', W']``."""
    return convolve(x.permute(0, 2, 3, 1)[None], weight[None], geometry)[0].permute(0, 3, 1, 2)


def normalised(z: Tensor, norm: Norm, spec: NormPool) -> tuple[Tensor, Tensor, Tensor]:
    """What a block makes of its convolution's outcome ``z: [n, O, H, W]``: ``[n, O, h, w]``.

    With it come the mean and 1/deviation ``[O]`` that it was normalised with, as constants.
    """
    given = None if norm.given is None else (norm.given[0][None], norm.given[1][None])
    y, mean, rstd = norm_pool(z.permute(0, 2, 3, 1)[None], norm.scale[None], norm.shift[None], given, spec)
    return y[0].permute(0, 3, 1, 2), mean[0], rstd[0]


def _first(
    padded: Tensor,
    weight: Tensor,
    scale: Tensor,
    shift: Tensor,
    given: tuple[Tensor, Tensor] | None,
    spec: NormPool,
) -> tuple[Tensor, Tensor, Tensor]:
    """The block on data: its normalisation is multiplied into the filters beforehand."""
    mean, rstd = given or _statistics(padded, weight, spec)
    scale = scale * rstd
    u = torch.cat([(shift - mean * scale)[..., None], scale[..., None] * weight.flatten(2)], 2).mT
    return first_layer(padded, u), mean, rstd


def _statistics(padded: Tensor, weight: Tensor, spec: NormPool) -> tuple[Tensor, Tensor]:
    """Mean and 1/deviation ``[T, O]`` of the convolution's outcome, from mean and covariance of the patches.

    The products with the filters are those of a convolution on patches, by our kernel: torch's have other
    bits for one task than for many.
    """
    tasks, planes = padded.shape[0], padded.shape[2]
    center, covariance = patch_moments(padded, spec.own)
    patches = torch.cat([center[:, None], covariance], 1).view(tasks, -1, planes, 3, 3)
    products = convolve(patches.permute(0, 1, 3, 4, 2), weight, Geometry(1, 0)).flatten(
        1, 3
    )  # [T, 1 + 9 P, O]
    variance = (products[:, 1:] * weight.flatten(2).mT).sum(1).clamp_min(0)
    return products[:, 0], (variance + spec.eps).rsqrt()


def _needs_gradient(x: Tensor) -> bool:
    """Whether any transform takes a derivative by it: what ``vmap`` batches does not say so itself."""
    functorch = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(x):
        if functorch.is_gradtrackingtensor(x) and x.requires_grad:
            return True
        x = functorch.get_unwrapped(x)
    return x.requires_grad
