"""Batch norm, ReLU and 2x2 max-pool in one native operation, with its first and second derivative."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.func import vjp

from fphi.native.batching import are_for_kernels, merged, of_any_batch, signed, split
from fphi.native.library import kernel

__all__ = ["NormPool", "norm_pool"]


@dataclass(frozen=True, slots=True)
class NormPool:
    """What the operation is.

    Args:
        window: side of the pooled windows, 2, or 1 for no pooling.
        own: how many of the leading rows the statistics are of; 0: they are given.
        eps: added to the variance.
    """

    window: int
    own: int
    eps: float


def norm_pool(
    z: Tensor, scale: Tensor, shift: Tensor, given: tuple[Tensor, Tensor] | None, spec: NormPool
) -> tuple[Tensor, Tensor, Tensor]:
    """Maps ``[T, n, H, W, C]`` and ``scale, shift: [T, C]`` to maps ``[T, n, H / window, W / window, C]``.

    With them come the mean and 1/deviation ``[T, C]`` that they were normalised with, as constants.

    Args:
        z: see above.
        scale: see above.
        shift: see above.
        given: mean and 1/deviation ``[T, C]``, constants, where ``spec.own`` is 0.
        spec: what is computed.
    """
    mean, rstd = given or (z.new_empty(scale.shape), z.new_empty(scale.shape))
    found = _NormPool.apply(*(a.contiguous() for a in (z, scale, shift, mean, rstd)), spec)  # type: ignore[no-untyped-call]
    y, _, mean, rstd = found
    return y, mean, rstd


@signed
class _NormPool(Function):
    @staticmethod
    def forward(
        z: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, rstd: Tensor, spec: NormPool
    ) -> tuple[Tensor, ...]:
        T, n, H, W, C = z.shape
        y = z.new_empty(T, n, H // spec.window, W // spec.window, C)
        winners = y.new_empty(y.shape, dtype=torch.uint8)
        mean, rstd = mean.clone(), rstd.clone()  # written where they are not given
        sizes = (T, n, H, W, C, spec.window, spec.own)
        kernel("norm_forward", z, scale, shift, mean, rstd, y, winners, *sizes, float(spec.eps))
        return y, winners, mean, rstd

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: tuple[Tensor, ...]) -> None:
        _, winners, mean, rstd = output
        ctx.mark_non_differentiable(winners, mean, rstd)
        ctx.save_for_backward(*inputs[:3], winners, mean, rstd)
        ctx.spec = inputs[5]
        ctx.set_materialize_grads(False)  # there are three outcomes that have none

    @staticmethod
    @of_any_batch
    def backward(ctx: Any, g: Tensor | None, *_: Any) -> Any:
        if g is None:
            return (None,) * 6
        return *_gradients(g, *ctx.saved_tensors, ctx.spec), None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: Any, *inputs: Any) -> Any:
        size = info.batch_size
        tensors = (merged(a, d, size) for a, d in zip(inputs[:5], in_dims[:5], strict=True))
        found = _NormPool.apply(*(a.contiguous() for a in tensors), inputs[5])  # type: ignore[no-untyped-call]
        return tuple(split(a, size) for a in found), (0,) * 4


def _gradients(g: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    found: tuple[Tensor, Tensor, Tensor] = _Gradients.apply(g.contiguous(), *rest)  # type: ignore[no-untyped-call]
    return found


@signed
class _Gradients(Function):
    @staticmethod
    def forward(
        g: Tensor,
        z: Tensor,
        scale: Tensor,
        shift: Tensor,
        winners: Tensor,
        mean: Tensor,
        rstd: Tensor,
        spec: NormPool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        T, n, H, W, C = z.shape
        to_z, to_scale, to_shift = torch.empty_like(z), torch.empty_like(scale), torch.empty_like(shift)
        sizes = (T, n, H, W, C, spec.window, spec.own)
        kernel("norm_backward", g, z, scale, mean, rstd, winners, to_z, to_scale, to_shift, *sizes)
        return to_z, to_scale, to_shift

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs[:7])
        ctx.spec = inputs[7]

    @staticmethod
    @of_any_batch
    def backward(ctx: Any, v: Tensor, a: Tensor, b: Tensor) -> Any:
        g, z, scale, shift, winners, mean, rstd = ctx.saved_tensors
        if not are_for_kernels(v, a, b):
            found = _derived_again((v, a, b), g, (z, scale, shift), winners, (mean, rstd), ctx.spec)
            return *found, None, None, None, None
        T, n, H, W, C = z.shape
        v, a, b = v.contiguous(), a.contiguous(), b.contiguous()
        to_g, to_z, to_scale = torch.empty_like(g), torch.empty_like(z), torch.empty_like(scale)
        sizes = (T, n, H, W, C, ctx.spec.window, ctx.spec.own)
        kernel("norm_backward_twice", v, a, b, g, z, scale, mean, rstd, winners, to_g, to_z, to_scale, *sizes)
        return to_g, to_z, to_scale, *(None,) * 5

    @staticmethod
    def vmap(info: Any, in_dims: Any, *inputs: Any) -> Any:
        size = info.batch_size
        tensors = [merged(a, d, size).contiguous() for a, d in zip(inputs[:7], in_dims[:7], strict=True)]
        return tuple(split(a, size) for a in _gradients(*tensors, inputs[7])), (0,) * 3


def _derived_again(
    cotangents: tuple[Tensor, ...],
    g: Tensor,
    inputs: tuple[Tensor, Tensor, Tensor],
    winners: Tensor,
    given: tuple[Tensor, Tensor],
    spec: NormPool,
) -> tuple[Tensor, ...]:
    """The derivative of `_Gradients` by torch's own operations, which have derivatives themselves.

    By ``torch.func``, which takes g and z for independent although g was computed from z.
    """

    def gradients(g: Tensor, *inputs: Tensor) -> Any:
        return vjp(lambda z, scale, shift: _at(winners, z, scale, shift, given, spec), *inputs)[1](g)

    derived: tuple[Tensor, ...] = vjp(gradients, g, *inputs)[1](cotangents)
    return derived


def _at(
    winners: Tensor,
    z: Tensor,
    scale: Tensor,
    shift: Tensor,
    given: tuple[Tensor, Tensor],
    spec: NormPool,
) -> Tensor:
    """What `norm_pool` computes, where it is known which pixel of each window wins."""
    mean, rstd = given
    if spec.own:
        own = z[:, : spec.own]
        mean = own.mean((1, 2, 3))
        rstd = ((own - _wide(mean)).square().mean((1, 2, 3)) + spec.eps).rsqrt()
    h, w, side = *winners.shape[2:4], spec.window
    pixels = z[:, :, : h * side, : w * side].reshape(*z.shape[:2], h, side, w, side, z.shape[4])
    pixels = pixels.movedim(5, 4).flatten(3, 4)  # [T, n, h, side * side, w, C]
    which = winners.clamp(max=pixels.shape[3] - 1).long()  # any pixel where the ReLU cuts off all of them
    won = pixels.gather(3, which.unsqueeze(3)).squeeze(3)
    y = (won - _wide(mean)) * _wide(rstd * scale) + _wide(shift)
    return y.relu()


def _wide(of_channels: Tensor) -> Tensor:
    return of_channels[:, None, None, None]
