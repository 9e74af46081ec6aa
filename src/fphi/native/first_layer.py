"""The first layer of a network on data, whole: grey or colour images, which need no gradient."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from fphi.native.batching import merged, of_any_batch, signed, split
from fphi.native.library import kernel

__all__ = ["PLANES", "first_layer", "patch_moments"]

PLANES = (1, 3)
"""Of the images that the kernels know."""


def patch_moments(x: Tensor, own: int) -> tuple[Tensor, Tensor]:
    """Mean ``[T, 9 P]`` and covariance ``[T, 9 P, 9 P]`` of the 3x3 patches of the leading images.

    Args:
        x: padded images ``[T, n, P, H + 2, W + 2]``, constants, with a number of `PLANES`.
        own: how many images.
    """
    found: tuple[Tensor, Tensor] = _PatchMoments.apply(x.contiguous(), own)  # type: ignore[no-untyped-call]
    return found


def first_layer(x: Tensor, u: Tensor) -> Tensor:
    """Max over each 2x2 window of ``u_0 + sum of u_k x[pixel + k]``, and over 0.

    Args:
        x: padded images ``[T, n, P, H + 2, W + 2]``, constants, with a number of `PLANES`.
        u: a shift and nine taps of each plane for each output channel, ``[T, 1 + 9 P, O]``.

    Returns:
        ``[T, n, H / 2, W / 2, O]``
    """
    y: Tensor = _FirstLayer.apply(x.contiguous(), u.contiguous())[0]  # type: ignore[no-untyped-call]
    return y


@signed
class _PatchMoments(Function):
    @staticmethod
    def forward(x: Tensor, own: int) -> tuple[Tensor, Tensor]:
        T, n, P, H, W = x.shape
        mean, covariance = x.new_empty(T, 9 * P), x.new_empty(T, 9 * P, 9 * P)
        kernel("patch_moments", x, mean, covariance, T, n, P, H - 2, W - 2, own)
        return mean, covariance

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(*output)

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Tensor, own: int) -> Any:
        found = patch_moments(merged(x, in_dims[0], info.batch_size), own)
        return tuple(split(a, info.batch_size) for a in found), (0, 0)


@signed
class _FirstLayer(Function):
    @staticmethod
    def forward(x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        y = _outcome(x, u)
        winners = y.new_empty(y.shape, dtype=torch.uint8)
        kernel("first_forward", x, u, y, winners, *_sizes(x, u))
        return y, winners

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(inputs[0], output[1])
        ctx.set_materialize_grads(False)  # the winners have none

    @staticmethod
    @of_any_batch
    def backward(ctx: Any, g: Tensor | None, _: Any) -> Any:
        if g is None:
            return None, None
        return None, _Transposed.apply(g.contiguous(), *ctx.saved_tensors)  # type: ignore[no-untyped-call]

    @staticmethod
    def vmap(info: Any, in_dims: Any, *inputs: Tensor) -> Any:
        found = _FirstLayer.apply(*_all_merged(inputs, in_dims, info.batch_size))  # type: ignore[no-untyped-call]
        return tuple(split(a, info.batch_size) for a in found), (0, 0)


@signed
class _Linear(Function):
    """The layer as a linear map of u, the winners being what they are."""

    @staticmethod
    def forward(u: Tensor, x: Tensor, winners: Tensor) -> Tensor:
        y = _outcome(x, u)
        kernel("first_apply", x, u, winners, y, *_sizes(x, u))
        return y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    @of_any_batch
    def backward(ctx: Any, g: Tensor) -> Any:
        return _Transposed.apply(g.contiguous(), *ctx.saved_tensors), None, None  # type: ignore[no-untyped-call]

    @staticmethod
    def vmap(info: Any, in_dims: Any, *inputs: Tensor) -> Any:
        found = _Linear.apply(*_all_merged(inputs, in_dims, info.batch_size))  # type: ignore[no-untyped-call]
        return split(found, info.batch_size), 0


@signed
class _Transposed(Function):
    """The transpose of `_Linear`: from the gradient by the outcome to that by u."""

    @staticmethod
    def forward(g: Tensor, x: Tensor, winners: Tensor) -> Tensor:
        u = g.new_empty(g.shape[0], 1 + 9 * x.shape[2], g.shape[-1])
        kernel("first_gradient", x, g, winners, u, *_sizes(x, u))
        return u

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    @of_any_batch
    def backward(ctx: Any, v: Tensor) -> Any:
        return _Linear.apply(v.contiguous(), *ctx.saved_tensors), None, None  # type: ignore[no-untyped-call]

    @staticmethod
    def vmap(info: Any, in_dims: Any, *inputs: Tensor) -> Any:
        found = _Transposed.apply(*_all_merged(inputs, in_dims, info.batch_size))  # type: ignore[no-untyped-call]
        return split(found, info.batch_size), 0


def _all_merged(inputs: tuple[Tensor, ...], in_dims: tuple[int | None, ...], size: int) -> list[Tensor]:
    return [merged(a, d, size).contiguous() for a, d in zip(inputs, in_dims, strict=True)]


def _sizes(x: Tensor, u: Tensor) -> tuple[int, ...]:
    T, n, P, H, W = x.shape
    return T, n, P, H - 2, W - 2, u.shape[-1]


def _outcome(x: Tensor, u: Tensor) -> Tensor:
    T, n, _, H, W, outputs = _sizes(x, u)
    return x.new_empty(T, n, H // 2, W // 2, outputs)
