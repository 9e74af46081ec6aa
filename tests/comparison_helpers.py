"""What the tests of comparing learners share."""

import torch
from torch import Tensor, nn


def tensor(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def vectors(n: int, d: int = 6) -> Tensor:
    return torch.randn(n, d, dtype=torch.float64)


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
