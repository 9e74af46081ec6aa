"""ENAS's micro space: a normal and a reduction cell, their nodes chosen by index and operation."""

import re
from dataclasses import dataclass
from typing import ClassVar

from fphi.errors import FphiError
from fphi.learnable.architecture.enas_micro_network import (
    INPUTS,
    MicroCells,
    MicroLink,
    MicroNetwork,
    links_of,
    loose_ends,
)
from fphi.learnable.architecture.space import Edge, Graph
from fphi.learnable.architecture.supernet import SharingSpace
from fphi.learnable.space import Decision, Tokens
from fphi.networks.operations import Norm, batch_statistics

__all__ = ["ENAS_MICRO_OPERATIONS", "EnasMicroSpace"]

ENAS_MICRO_OPERATIONS = ("separable_3x3", "separable_5x5", "avg_pool_3x3", "max_pool_3x3", "identity")
_CELLS = ("normal", "reduction")


@dataclass(frozen=True)
class EnasMicroSpace(SharingSpace):
    """Two cells; a node adds two operations on earlier states (Pham et al., ICML 2018, arXiv 1802.03268).

    A state is the output of one of the two cells before, or an earlier node of the cell. Five nodes of
    each cell, each with (index, operation, index, operation), are 40 decisions. Nodes that no node
    takes for its input are concatenated.

    Args:
        nodes: of each cell (paper: 5).
        layers: normal cells; after each third of them follows a reduction cell (paper: 6, and 15 retrained).
        channels: of the first cells (paper: 20, and 36 retrained); each reduction doubles them.
        dropout: before the linear layer (paper: 0.1).
        drop_path: probability that the result of an operation is dropped at the end of a training alone
            (paper: 0.4); with shared weights nothing is dropped.
    """

    name: ClassVar[str] = "enas-micro"

    nodes: int = 5
    layers: int = 3
    channels: int = 8
    dropout: float = 0.1
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        """Refuse networks with nothing in them."""
        if min(self.nodes, self.layers, self.channels) < 1 or not 0 <= self.dropout < 1:
            raise FphiError(
                f"nodes={self.nodes}, layers={self.layers}, channels={self.channels}, dropout="
                f"{self.dropout}: give at least one of each, and a dropout from 0 to below 1"
            )

    @property
    def states(self) -> int:
        """Inputs and nodes of a cell. Those of the second cell are numbered on from those of the first."""
        return INPUTS + self.nodes

    @property
    def convolutions(self) -> tuple[bool, ...]:
        """Which of the operations are convolutions."""
        return tuple("separable" in name for name in ENAS_MICRO_OPERATIONS)

    @property
    def decisions(self) -> tuple[Decision, ...]:
        return tuple(
            question
            for first in (0, self.states)
            for node in range(first + INPUTS, first + self.states)
            for _ in "xy"
            for question in (
                Decision("index", node - first, node, tuple(range(first, node))),
                Decision("operation", len(ENAS_MICRO_OPERATIONS), node),
            )
        )

    def cells(self, tokens: Tokens) -> MicroCells:
        """The links of both cells."""
        half = len(tokens) // 2
        return MicroCells(*(links_of(part, ENAS_MICRO_OPERATIONS) for part in (tokens[:half], tokens[half:])))

    def text(self, tokens: Tokens) -> str:
        """Each cell's nodes as two operations on earlier states, 0 and 1 being the cell's inputs.

        >>> EnasMicroSpace(nodes=1).text((0, 4, 1, 0, 1, 3, 1, 2))
        'normal identity(0)+separable_3x3(1) reduction max_pool_3x3(1)+avg_pool_3x3(1)'
        """
        words = []
        for kind, links in zip(_CELLS, self.cells(tokens), strict=True):
            arms = [f"{link.operation}({link.source})" for link in links]
            words += [kind, *(f"{x}+{y}" for x, y in zip(arms[::2], arms[1::2], strict=True))]
        return " ".join(words)

    def parse(self, text: str) -> Tokens:
        found = re.findall(r"(\w+)\((\d+)\)", text)
        names = dict(zip(ENAS_MICRO_OPERATIONS, range(len(ENAS_MICRO_OPERATIONS)), strict=True))
        tokens = tuple(t for name, source in found if name in names for t in (int(source), names[name]))
        if len(tokens) == len(self.decisions) and self.text(self.check(tokens)) == text:
            return tokens
        example = self.text((0,) * len(self.decisions))
        raise FphiError(f"{text!r} is no architecture of the space {self.name}; one looks like {example!r}")

    def whole(self, input_shape: tuple[int, ...], outputs: int) -> MicroNetwork:
        nodes = range(INPUTS, INPUTS + self.nodes)
        links = tuple(
            MicroLink(node, arm, source, name)
            for node in nodes
            for arm in (0, 1)
            for source in range(node)
            for name in ENAS_MICRO_OPERATIONS
        )
        return self._network(MicroCells(links, links), (nodes, nodes), input_shape, outputs, batch_statistics)

    def subgraph(
        self, tokens: Tokens, input_shape: tuple[int, ...], outputs: int, norm: Norm
    ) -> MicroNetwork:
        cells = self.cells(tokens)
        loose = (loose_ends(cells.normal), loose_ends(cells.reduction))
        return self._network(cells, loose, input_shape, outputs, norm)

    def graphs(self, tokens: Tokens) -> list[Graph]:
        """A graph for each cell."""
        return [_graph(kind, links) for kind, links in zip(_CELLS, self.cells(tokens), strict=True)]

    def _network(
        self,
        cells: MicroCells,
        loose: tuple[range | list[int], range | list[int]],
        input_shape: tuple[int, ...],
        outputs: int,
        norm: Norm,
    ) -> MicroNetwork:
        return MicroNetwork(
            cells,
            loose,
            ENAS_MICRO_OPERATIONS,
            layers=self.layers,
            channels=self.channels,
            dropout=self.dropout,
            drop_path=self.drop_path,
            input_shape=input_shape,
            outputs=outputs,
            norm=norm,
        )


def _graph(title: str, links: tuple[MicroLink, ...]) -> Graph:
    last = max(link.node for link in links)
    names = ("cell before last", "last cell", *(str(node) for node in range(INPUTS, last + 1)), "output")
    inner = [Edge(link.source, link.node, link.operation) for link in links]
    outer = [Edge(node, last + 1) for node in loose_ends(links)]
    return Graph(title, names, tuple(inner + outer))
