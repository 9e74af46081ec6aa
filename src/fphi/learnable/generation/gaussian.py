"""Normal distributions of independent numbers, as a network gives them, and their divergence from N(0, I)."""

from typing import NamedTuple, Self

import torch
from torch import Tensor

__all__ = ["Gaussian"]

_LEAST = 1e-10  # a standard deviation
_MOST = 1.0  # s: an inner loop that goes astray ends with deviations below 2, not with infinite ones


class Gaussian(NamedTuple):
    """N(mean, std²), independent numbers.

    Attributes:
        mean, std: ``[..., d]``.
    """

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, parameters: Tensor, std: float) -> Self:
        """From a network's outputs ``[..., 2d]``, means beside s, as in LEO's published code.

        The standard deviation is exp(s) - 1 + ``std``, so ``std`` where s = 0. It is never below 1e-10, and s
        never above 1: out there it has no derivative.
        """
        mean, s = parameters.chunk(2, dim=-1)
        return cls(mean, (torch.expm1(s.clamp_max(_MOST)) + std).clamp_min(_LEAST))

    def sample(self, noise: Tensor) -> Tensor:
        """The sample that ``noise ~ N(0, I)`` of the mean's shape makes; derivatives reach mean and std."""
        return self.mean + self.std * noise

    def divergence(self) -> Tensor:
        """KL(N(mean, std²) ‖ N(0, 1)) of each number.

        >>> Gaussian(torch.tensor([0.0, 1.0]), torch.ones(2)).divergence()
        tensor([0.0000, 0.5000])
        """
        return (self.mean.square() + self.std.square() - 1) / 2 - self.std.log()
