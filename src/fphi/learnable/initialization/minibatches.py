"""Which examples of a support set make up the minibatch of an inner step."""

import torch
from torch import Tensor

__all__ = ["minibatch_rows"]


def minibatch_rows(step: int, examples: int, size: int) -> Tensor:
    """Rows ``[min(size, examples)]`` of inner step ``step``: passes over shuffled examples, end to end.

    A pure function of its arguments. The same rows serve every task: which example stands in a row
    is random already.
    """
    size = min(size, examples)
    first, last = step * size // examples, ((step + 1) * size - 1) // examples
    passes = [
        torch.randperm(examples, generator=torch.Generator().manual_seed(p)) for p in range(first, last + 1)
    ]
    start = step * size - first * examples
    return torch.cat(passes)[start : start + size]
