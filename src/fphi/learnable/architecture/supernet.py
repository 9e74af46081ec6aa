"""A supernet: one network that holds every architecture of a space, in weights that they share."""

from abc import abstractmethod

from torch import Tensor, nn

from fphi.learnable.architecture.space import ArchitectureSpace
from fphi.learnable.space import FixedSpace, Tokens
from fphi.networks.operations import Norm

__all__ = ["SharingSpace", "Standalone", "SubgraphNetwork", "Supernet"]


class SubgraphNetwork(nn.Module):
    """A network that can run any architecture whose parts it has.

    The names of its parameters say which part of the space they belong to, so that networks of other
    architectures of the space have the same name for the same part.
    """

    @abstractmethod
    def run(self, x: Tensor, tokens: Tokens) -> Tensor:
        """``[n, C, H, W]`` to ``[n, outputs]`` along the parts of one architecture, and no others."""


class Standalone(nn.Module):
    """One architecture as an ordinary network.

    Args:
        network: with the parts of the architecture, and no others.
        tokens: the architecture.
    """

    def __init__(self, network: SubgraphNetwork, tokens: Tokens) -> None:
        super().__init__()
        self.network, self.tokens = network, tokens

    def forward(self, x: Tensor) -> Tensor:
        """``[n, C, H, W]`` to ``[n, outputs]``."""
        return self.network.run(x, self.tokens)


class SharingSpace(FixedSpace, ArchitectureSpace):
    """A space whose architectures can share weights: each is a sub-graph of one network."""

    @abstractmethod
    def whole(self, input_shape: tuple[int, ...], outputs: int) -> SubgraphNetwork:
        """A network with the parts of every architecture, whose batch norms use batch statistics."""

    @abstractmethod
    def subgraph(
        self, tokens: Tokens, input_shape: tuple[int, ...], outputs: int, norm: Norm
    ) -> SubgraphNetwork:
        """A network with the parts of one architecture."""

    def supernet(self, input_shape: tuple[int, ...], outputs: int) -> "Supernet":
        """All architectures in one set of weights, freshly initialised."""
        return Supernet(self, self.whole(input_shape, outputs))

    def standalone(
        self, tokens: Tokens, input_shape: tuple[int, ...], outputs: int, norm: Norm = nn.BatchNorm2d
    ) -> Standalone:
        """`build` with a normalisation of one's choice."""
        tokens = self.check(tokens)
        return Standalone(self.subgraph(tokens, input_shape, outputs, norm), tokens)

    def build(self, tokens: Tokens, input_shape: tuple[int, ...], outputs: int) -> Standalone:
        return self.standalone(tokens, input_shape, outputs)


class Supernet(nn.Module):
    """All architectures of a space in one set of shared weights ω.

    Batch norms use the statistics of their batch, in training and after: running averages over children
    that have nothing in common are those of none of them.

    Args:
        space: of the architectures.
        network: with the parts of all of them.
    """

    def __init__(self, space: SharingSpace, network: SubgraphNetwork) -> None:
        super().__init__()
        self.space, self.network = space, network

    def forward(self, x: Tensor, tokens: Tokens) -> Tensor:
        """``[n, C, H, W]`` to ``[n, outputs]`` by one child: exactly its sub-graph is computed."""
        return self.network.run(x, tokens)
