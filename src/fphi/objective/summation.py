"""Sums that can be taken in any order, by any number of processes, to the same bits."""

from collections.abc import Iterable

import torch
from torch import Tensor

__all__ = ["sum_of", "summand", "summed"]

_GRIDS = (2.0**-20, 2.0**-46)
"""A float64 has 53 binary digits: multiples of the first are summed exactly up to 2³³, and what is left of
numbers, in multiples of the second, up to 2⁷."""


def summand(x: Tensor, exact: bool) -> Tensor:
    """What is added up for ``x [*shape]``: ``[parts, *shape]``.

    Args:
        x: numbers.
        exact: in float64, so that the order of a sum leaves no trace in what is rounded after. Numbers of
            float32 have 29 binary digits to spare there, which hides the order but for one sum in some
            hundred million. Those of float64 are cut into three parts: the sums of two round nothing, and
            the third is too small to be seen. Of no effect where the device has no float64.
    """
    if not exact or x.device.type == "mps":
        return x[None]
    if x.dtype != torch.float64:
        return x[None].to(torch.float64)
    parts, rest = [], x
    for grid in _GRIDS:
        parts.append((rest / grid).round() * grid)
        rest = rest - parts[-1]
    return torch.stack([*parts, rest])


def summed(summands: Iterable[Tensor]) -> Tensor:
    """The sum ``[parts, *shape]`` of some summands."""
    return torch.stack(list(summands)).sum(0)


def sum_of(total: Tensor, dtype: torch.dtype) -> Tensor:
    """The numbers ``[*shape]`` that a sum of summands ``[parts, *shape]`` stands for."""
    return total.sum(0).to(dtype)
