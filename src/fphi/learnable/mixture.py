"""A supernet whose edges are mixtures: φ is α, the logits of the operations of each edge."""

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fphi.learnable.space import Tokens
from fphi.within import Parameters

__all__ = ["Mixture"]


class Mixture(nn.Module):
    """Every architecture of a space at once, in shares that α decides (Liu et al. 2019, arXiv 1806.09055).

    Args:
        shapes: of α, ``[edges, operations]``, for each kind of cell; all cells of a kind share it.
        spread: standard deviation of α's first values, which are normal (paper: 1e-3).
    """

    def __init__(self, shapes: Mapping[str, tuple[int, int]], spread: float = 1e-3) -> None:
        super().__init__()
        self.alphas = nn.ParameterDict(
            {kind: nn.Parameter(spread * torch.randn(shape)) for kind, shape in shapes.items()}
        )

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """``[n, C, H, W]`` to ``[n, outputs]`` by the mixture."""

    @abstractmethod
    def derive(self) -> Tokens:
        """The architecture that α prefers."""

    @abstractmethod
    def skips(self) -> dict[str, int]:
        """How many operations of each kind of derived cell are skip connections."""

    def probabilities(self) -> dict[str, Tensor]:
        """The operations' shares on each edge, ``[edges, operations]``, for each kind of cell."""
        return {kind: alpha.softmax(-1) for kind, alpha in self.alphas.items()}

    def entropy(self) -> float:
        """Mean entropy of an edge's shares: log of the number of operations, down to 0 once it is decided."""
        with torch.no_grad():
            entropies = [-torch.special.xlogy(p, p).sum(-1) for p in self.probabilities().values()]
        return float(torch.cat(entropies).mean())

    def architecture(self) -> Parameters:
        """φ: α by parameter name."""
        return {f"alphas.{kind}": alpha for kind, alpha in self.alphas.items()}

    def weights(self) -> Parameters:
        """θ: all other parameters by name, but for frozen ones."""
        known = self.architecture()
        return {name: p for name, p in self.named_parameters() if name not in known and p.requires_grad}
