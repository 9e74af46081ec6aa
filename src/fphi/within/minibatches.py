"""Minibatches of the examples of one large task."""

from collections.abc import Iterator

import torch
from torch import Tensor

from fphi.tasks.types import Examples

__all__ = ["endless_minibatches", "rows_of_minibatches"]


def endless_minibatches(examples: Examples, size: int, generator: torch.Generator) -> Iterator[Examples]:
    """Minibatches of at most ``size``, epoch after epoch, each in an order of its own."""
    while True:
        for rows in rows_of_minibatches(len(examples.y), -(-len(examples.y) // size), generator):
            yield Examples(examples.x[rows], examples.y[rows])


def rows_of_minibatches(examples: int, count: int, generator: torch.Generator) -> Iterator[Tensor]:
    """One epoch in ``count`` parts of nearly one size: a last one of a single example has no variance."""
    yield from torch.randperm(examples, generator=generator).tensor_split(count)
