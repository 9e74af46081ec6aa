"""3x3 convolution of task-batched maps by native kernels, differentiable as often as wanted.

A convolution is linear in the map and in the filter. So it, its gradient by the map and its gradient by
the filter are each other's derivatives.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from fphi.native.batching import are_for_kernels, merged, of_any_batch, signed, split
from fphi.native.library import kernel

__all__ = ["Geometry", "convolve"]


@dataclass(frozen=True, slots=True)  # not a tuple, which ``vmap`` would take apart
class Geometry:
    """How the filter moves over the map: its step, and the pixels of zero around the map."""

    stride: int
    padding: int

    def outcome(self, side: int) -> int:
        """The side of what comes out of a map with this side."""
        return (side + 2 * self.padding - 3) // self.stride + 1


def convolve(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """Maps ``[T, n, H, W, C]`` and filters ``[T or 1, O, C, 3, 3]`` to maps ``[T, n, H', W', O]``."""
    assert weight.shape[2:] == (x.shape[4], 3, 3)
    outcome: Tensor = _Convolution.apply(x.contiguous(), weight.contiguous(), geometry)  # type: ignore[no-untyped-call]
    return outcome


@signed
class _Convolution(Function):
    @staticmethod
    def forward(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
        return _forward(geometry, (x, weight))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])
        ctx.geometry = inputs[2]

    @staticmethod
    @of_any_batch
    def backward(ctx: Any, g: Tensor) -> Any:
        to_x, to_weight = ctx.needs_input_grad[:2]
        x, weight = ctx.saved_tensors
        return *_gradients(g, x, weight, ctx.geometry, to_x, to_weight), None

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Tensor, weight: Tensor, geometry: Geometry) -> Any:
        size = info.batch_size
        if in_dims[1] is not None or weight.shape[0] > 1:
            weight = merged(weight, in_dims[1], size)
        return split(convolve(merged(x, in_dims[0], size), weight, geometry), size), 0


def _gradients(
    g: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, to_x: bool = True, to_weight: bool = True
) -> tuple[Tensor | None, Tensor | None]:
    found: tuple[Tensor | None, Tensor | None] = _Gradients.apply(  # type: ignore[no-untyped-call]
        g.contiguous(), x.contiguous(), weight.contiguous(), geometry, to_x, to_weight
    )
    return found


@signed
class _Gradients(Function):
    """The gradients by map and filter, each if it is wanted, and None else."""

    @staticmethod
    def forward(
        g: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, to_x: bool, to_weight: bool
    ) -> tuple[Tensor | None, Tensor | None]:
        by_x = _turned(geometry, (g, weight), x.shape) if to_x else None
        return by_x, _correlated(geometry, (x, g), weight.shape) if to_weight else None

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs[:3])
        ctx.geometry = inputs[3]
        ctx.set_materialize_grads(False)

    @staticmethod
    @of_any_batch
    def backward(ctx: Any, v_x: Tensor | None, v_weight: Tensor | None) -> Any:
        g, x, weight = ctx.saved_tensors
        derive = _derived if are_for_kernels(v_x, v_weight) else _derived_again
        return *derive(ctx.geometry, g, x, weight, v_x, v_weight, ctx.needs_input_grad), None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: Any, g: Tensor, x: Tensor, weight: Tensor, *rest: Any) -> Any:
        # One filter for all tasks has here a gradient for each entry of the batch.
        size, tasks = info.batch_size, g.shape[0] if in_dims[0] is None else g.movedim(in_dims[0], 0).shape[1]
        shared = (weight.shape[0] if in_dims[2] is None else weight.movedim(in_dims[2], 0).shape[1]) == 1
        g, x, weight = (merged(a, d, size) for a, d in zip((g, x, weight), in_dims[:3], strict=True))
        if shared and tasks > 1:
            weight = weight.repeat_interleave(tasks, 0)
        by_x, by_weight = (None if a is None else split(a, size) for a in _gradients(g, x, weight, *rest))
        if shared and by_weight is not None:
            by_weight = by_weight.sum(1, keepdim=True)
        return (by_x, by_weight), (None if by_x is None else 0, None if by_weight is None else 0)


def _derived(
    geometry: Geometry,
    g: Tensor,
    x: Tensor,
    weight: Tensor,
    v_x: Tensor | None,
    v_weight: Tensor | None,
    needed: tuple[bool, ...],
) -> tuple[Tensor | None, ...]:
    """The derivative of `_Gradients`: two convolutions in one pass, and what needs no pass left out."""
    v_x, v_weight = (None if v is None else v.contiguous() for v in (v_x, v_weight))
    pairs = [] if v_x is None else [(v_x, weight)]
    pairs += [] if v_weight is None else [(x, v_weight)]
    to_g = _forward(geometry, *pairs) if needed[0] and pairs else None
    to_x = _turned(geometry, (g, v_weight), x.shape) if needed[1] and v_weight is not None else None
    to_weight = _correlated(geometry, (v_x, g), weight.shape) if needed[2] and v_x is not None else None
    return to_g, to_x, to_weight


def _derived_again(
    geometry: Geometry,
    g: Tensor,
    x: Tensor,
    weight: Tensor,
    v_x: Tensor | None,
    v_weight: Tensor | None,
    needed: tuple[bool, ...],
) -> tuple[Tensor | None, ...]:
    """As `_derived`, with a derivative of its own."""
    to_g = to_x = to_weight = None
    if v_x is not None:
        to_g = convolve(v_x, weight, geometry)
        to_weight = _gradients(g, v_x, weight, geometry, to_x=False)[1] if needed[2] else None
    if v_weight is not None:
        along = convolve(x, v_weight, geometry)
        to_g = along if to_g is None else to_g + along
        to_x = _gradients(g, x, v_weight, geometry, to_weight=False)[0] if needed[1] else None
    return to_g, to_x, to_weight


# ---- calls of the kernels; each takes one pair of operands, or two whose outcomes are added ----

Pair = tuple[Tensor, Tensor]


def _forward(geometry: Geometry, *pairs: Pair) -> Tensor:
    x, weight = pairs[0]
    T, n, H, W, C = x.shape
    outputs = weight.shape[1]
    y = x.new_empty(T, n, geometry.outcome(H), geometry.outcome(W), outputs)
    sizes = (T, weight.shape[0] == 1, n, H, W, C, outputs)
    if _by_winograd(geometry, C):
        kernel("convolve", *_operands(pairs), y, *sizes, geometry.padding, 0)
    else:
        kernel("patch_convolve", *_operands(pairs), y, *sizes, geometry.stride, geometry.padding)
    return y


def _turned(geometry: Geometry, pair: Pair, shape: torch.Size) -> Tensor:
    g, weight = pair
    T, n, H, W, C = shape
    outputs = weight.shape[1]
    to_x = g.new_empty(shape)
    if _by_winograd(geometry, C):
        sizes = (T, weight.shape[0] == 1, n, *g.shape[2:4], C, outputs)
        kernel("convolve", *_operands((pair,)), to_x, *sizes, geometry.padding, 1)
    else:
        sizes = (T, weight.shape[0] == 1, n, H, W, C, outputs)
        kernel("patch_gradient", *_operands((pair,)), to_x, *sizes, geometry.stride, geometry.padding)
    return to_x


def _correlated(geometry: Geometry, pair: Pair, shape: torch.Size) -> Tensor:
    T, n, H, W, C = pair[0].shape
    to_weight = pair[0].new_empty(shape)
    sizes = (T, shape[0] == 1, n, H, W, C, shape[1])
    if _by_winograd(geometry, C):
        kernel("correlate", *_operands((pair,)), to_weight, *sizes, geometry.padding)
    else:
        kernel("patch_correlate", *_operands((pair,)), to_weight, *sizes, geometry.stride, geometry.padding)
    return to_weight


def _operands(pairs: tuple[Pair, ...]) -> tuple[Tensor | None, ...]:
    return (*pairs[0], *(pairs[1] if len(pairs) > 1 else (None, None)))


def _by_winograd(geometry: Geometry, inputs: int) -> bool:
    return geometry.stride == 1 and geometry.padding in (0, 1) and inputs % 16 == 0
