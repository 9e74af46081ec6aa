"""Sums that can be taken in any order, by any number of processes, to the same bits."""

from collections.abc import Iterable

import torch
from torch import Tensor

__all__ = ["sum_of", "summand", "summed"]


def summand(x: Tensor, exact: bool) -> Tensor:
    """What is added up for ``x [*shape]``: ``[parts, *shape]``.

    Args:
        x: numbers.
        exact: in float64, so that each sum of a few keeps all the digits of the terms, and the order leaves
            no trace in what is rounded after. Numbers of float64 are cut into two of half the digits for it.
            Of no effect where the device has no float64.
    """
    if not exact or x.device.type == "mps":
        return x[None]
    if x.dtype != torch.float64:
        return x[None].to(torch.float64)
    upper = x.to(torch.float32).to(torch.float64)
    return torch.stack([upper, x - upper])


def summed(summands: Iterable[Tensor]) -> Tensor:
    """The sum ``[parts, *shape]`` of some summands."""
    return torch.stack(list(summands)).sum(0)


def sum_of(total: Tensor, dtype: torch.dtype) -> Tensor:
    """The numbers ``[*shape]`` that a sum of summands ``[parts, *shape]`` stands for."""
    return total.sum(0).to(dtype)
