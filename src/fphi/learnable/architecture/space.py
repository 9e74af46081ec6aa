"""A space of architectures: it builds the network of each, and says how to draw it."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from torch import nn

from fphi.learnable.space import Space, Tokens
from fphi.networks.operations import Norm
from fphi.ranges import Range

__all__ = ["ArchitectureSpace", "Edge", "Graph", "TakesNorm"]


@dataclass(frozen=True)
class Edge:
    """An arrow of a `Graph`, from node to node by number, with the operation on it or nothing."""

    start: int
    end: int
    label: str = ""


@dataclass(frozen=True)
class Graph:
    """A drawing of an architecture or of one of its cells: labelled nodes, and edges to later nodes."""

    title: str
    nodes: tuple[str, ...]
    edges: tuple[Edge, ...]


class ArchitectureSpace(Space):
    """A set of architectures."""

    # Of its options: networks of more cells, channels or layers than this are none that anyone searches.
    usual_range: ClassVar[Range] = Range(-1024, 1024)

    @abstractmethod
    def build(self, tokens: Tokens, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        """The network, freshly initialised: ``[n, *input_shape]`` to ``[n, outputs]``."""

    @abstractmethod
    def graphs(self, tokens: Tokens) -> list[Graph]:
        """What to draw: one graph for each cell, or one for the whole."""


@runtime_checkable
class TakesNorm(Protocol):
    """A space whose networks take any normalisation, and come without their last layer too."""

    def network(
        self, tokens: Tokens, input_shape: tuple[int, ...], outputs: int | None, norm: Norm
    ) -> nn.Module:
        """As ``build``; ``outputs=None`` leaves the linear layer out."""
