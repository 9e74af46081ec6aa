"""DARTS's space: a normal and a reduction cell of four nodes, each with two operations on earlier states."""

import re
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.learnable.architecture.cells import cell_graph
from fphi.learnable.architecture.space import ArchitectureSpace, Graph
from fphi.learnable.mixture import Mixture
from fphi.learnable.space import Decision, FixedSpace, Tokens
from fphi.networks.cells import INPUTS, CellNetwork, CellPlan, Link, Node
from fphi.networks.channels_last import channels_last
from fphi.networks.mixture import MixedCell, Way, fixed_norm, ways
from fphi.networks.operations import Norm

__all__ = ["DARTS_OPERATIONS", "PRIMITIVES", "DartsSpace", "DartsSupernet", "derived_links"]

# What is mixed, in the paper's order.
PRIMITIVES = (
    "none", "max_pool_3x3", "avg_pool_3x3", "identity",
    "separable_3x3", "separable_5x5", "dilated_3x3", "dilated_5x5",
)  # fmt: skip
# What a derived cell can have.
DARTS_OPERATIONS = PRIMITIVES[1:]

_KINDS = ("normal", "reduction")
_NODES = 4
_REDUCTIONS = 2


@dataclass(frozen=True)
class DartsSpace(FixedSpace, ArchitectureSpace):
    """Derived cells of DARTS (Liu, Simonyan, Yang, ICLR 2019, arXiv 1806.09055).

    A node adds two operations on two different earlier states, and the nodes are concatenated. Three
    questions for each node: which pair of states, and the operation on either. Each cell has 180 · 7⁸ =
    1,037,664,180 answers.

    Args:
        cells: N, normal cells of each of the three stages; with the two reduction cells between them the
            network has 3 N + 2 (paper: 2 while searching, 6 then).
        channels: of the first stage; each reduction doubles them (paper: 16 while searching, 36 then).
        drop_path: probability that the result of an operation is dropped at the end of the training
            (paper: 0.2 with 600 epochs).
    """

    name: ClassVar[str] = "darts"

    cells: int = 1
    channels: int = 8
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        """Refuse networks with nothing in them."""
        if min(self.cells, self.channels) < 1 or not 0 <= self.drop_path < 1:
            raise FphiError(
                f"cells={self.cells}, channels={self.channels}, drop_path={self.drop_path}: give at least "
                "one of each, and a probability below 1"
            )

    @property
    def decisions(self) -> tuple[Decision, ...]:
        return _DECISIONS

    @property
    def cell_size(self) -> int:
        """The number of cells of one kind; there are as many of the other."""
        size = 1
        for decision in self.decisions[: len(self.decisions) // 2]:
            size *= decision.choices
        return size

    def plans(self, tokens: Tokens) -> tuple[CellPlan, CellPlan]:
        """The normal and the reduction cell."""
        half = len(tokens) // 2
        return _plan(tokens[:half]), _plan(tokens[half:])

    def text(self, tokens: Tokens) -> str:
        """Each cell's nodes as two operations on states, 0 and 1 being the inputs.

        >>> DartsSpace().text((0, 2, 0) * 8).split()[:3]
        ['normal', 'identity(0)+max_pool_3x3(1)', 'identity(0)+max_pool_3x3(1)']
        """
        words = []
        for kind, plan in zip(_KINDS, self.plans(tokens), strict=True):
            words.append(kind)
            words += [
                "+".join(f"{link.operation}({link.source})" for link in node.links) for node in plan.nodes
            ]
        return " ".join(words)

    def parse(self, text: str) -> Tokens:
        links = [
            Link(int(source), name)
            for name, source in re.findall(r"(\w+)\((\d+)\)", text)
            if name in DARTS_OPERATIONS
        ]
        pairs = list(zip(links[::2], links[1::2], strict=False))
        if len(links) == 2 * len(_KINDS) * _NODES and all(
            {one.source, other.source} <= set(range(INPUTS + i % _NODES)) and one.source < other.source
            for i, (one, other) in enumerate(pairs)
        ):
            tokens = self.tokens(pairs)
            if self.text(tokens) == text:
                return tokens
        example = self.text((0,) * len(self.decisions))
        raise FphiError(f"{text!r} is no architecture of the space {self.name}; one looks like {example!r}")

    def tokens(self, pairs: list[tuple[Link, Link]]) -> Tokens:
        """The tokens of the links of each node, normal cell first, the earlier state of a node first."""
        tokens: Tokens = ()
        for i, (one, other) in enumerate(pairs):
            pair = _PAIRS[i % _NODES].index((one.source, other.source))
            tokens += (pair, *(DARTS_OPERATIONS.index(link.operation) for link in (one, other)))
        return tokens

    def build(self, tokens: Tokens, input_shape: tuple[int, ...], outputs: int) -> CellNetwork:
        return self.network(tokens, input_shape, outputs)

    def network(
        self,
        tokens: Tokens,
        input_shape: tuple[int, ...],
        outputs: int | None,
        norm: Norm = nn.BatchNorm2d,
    ) -> CellNetwork:
        """`build` with a normalisation of one's choice; ``outputs=None`` leaves the linear layer out."""
        return CellNetwork(
            *self.plans(self.check(tokens)),
            input_shape,
            outputs,
            channels=self.channels,
            cells_per_stage=self.cells,
            reductions=_REDUCTIONS,
            norm=norm,
            drop_path=self.drop_path,
        )

    def mixture(self, input_shape: tuple[int, ...], outputs: int) -> "DartsSupernet":
        return DartsSupernet(self, input_shape, outputs)

    def graphs(self, tokens: Tokens) -> list[Graph]:
        """A graph for each cell."""
        return [cell_graph(kind, plan) for kind, plan in zip(_KINDS, self.plans(tokens), strict=True)]


class DartsSupernet(Mixture):
    """Stem, stages of normal cells with a reduction cell before each but the first, linear; all mixed.

    It is built as the networks of the space are, so that with α one-hot it computes what the derived
    network with the same weights does. α is ``[14, 8]`` for either kind of cell.

    Args:
        space: whose cells are mixed.
        input_shape: ``C, H, W`` of an image.
        outputs: classes.
    """

    def __init__(self, space: DartsSpace, input_shape: tuple[int, ...], outputs: int) -> None:
        edges = len(ways(_NODES))
        super().__init__({kind: (edges, len(PRIMITIVES)) for kind in _KINDS})
        self.space = space
        width = 3 * space.channels
        self.stem = nn.Sequential(
            nn.Conv2d(input_shape[0], width, 3, padding=1, bias=False), fixed_norm(width)
        )
        self.cells = nn.ModuleList()
        widths, halved = (width, width), False
        for stage in range(_REDUCTIONS + 1):
            for reduces in [True] * (stage > 0) + [False] * space.cells:
                channels = space.channels * 2**stage
                cell = MixedCell(PRIMITIVES, _NODES, widths, channels, halve_older=halved, reduces=reduces)
                self.cells.append(cell)
                widths, halved = (widths[1], cell.channels_out), reduces
        self.head = nn.Linear(widths[1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        shares = self.probabilities()
        older = newer = self.stem(channels_last(x))
        for cell in self.cells:
            kind = "reduction" if cell.reduces else "normal"
            older, newer = newer, cell(older, newer, shares[kind])
        logits: Tensor = self.head(newer.relu().mean((-2, -1)))
        return logits

    def derive(self) -> Tokens:
        shares = self.probabilities()
        links = [derived_links(shares[kind], ways(_NODES), PRIMITIVES) for kind in _KINDS]
        return self.space.tokens([pair for of_cell in links for pair in of_cell])

    def skips(self) -> dict[str, int]:
        plans = self.space.plans(self.derive())
        return {kind: plan.operations["identity"] for kind, plan in zip(_KINDS, plans, strict=True)}


def derived_links(
    shares: Tensor, edges: tuple[Way, ...], operations: tuple[str, ...]
) -> list[tuple[Link, Link]]:
    """The two links that each node keeps, the earlier state first.

    An edge is as strong as its strongest operation other than none, whose share still counts among those
    that make up 1; a node keeps its two strongest edges, with that operation on each.

    Args:
        shares: ``[edges, operations]``, of each edge summing to 1.
        edges: their states, grouped by end.
        operations: their names; "none" is the first.
    """
    best = shares.detach()[:, 1:].max(-1)
    strength, chosen = best.values.tolist(), best.indices.tolist()
    pairs = []
    for end in sorted({edge.end for edge in edges}):
        incoming = [i for i, edge in enumerate(edges) if edge.end == end]
        kept = sorted(sorted(incoming, key=lambda i: (-strength[i], i))[:2])
        one, other = (Link(edges[i].start, operations[1 + chosen[i]]) for i in kept)
        pairs.append((one, other))
    return pairs


def _plan(tokens: Tokens) -> CellPlan:
    nodes = []
    for i in range(_NODES):
        pair, first, second = tokens[3 * i : 3 * i + 3]
        one, other = _PAIRS[i][pair]
        nodes.append(Node((Link(one, DARTS_OPERATIONS[first]), Link(other, DARTS_OPERATIONS[second]))))
    return CellPlan(tuple(nodes), "all")


# Of each node, the pairs of states that it can take.
_PAIRS = tuple(tuple(combinations(range(INPUTS + i), 2)) for i in range(_NODES))

_DECISIONS = tuple(
    decision
    for kind, first in zip(
        _KINDS, (0, INPUTS + _NODES), strict=True
    )  # parts of the second cell go on counting
    for i, pairs in enumerate(_PAIRS)
    for decision in (
        Decision(f"{kind} states {i}", len(pairs), first + INPUTS + i),
        Decision("first operation", len(DARTS_OPERATIONS), first + INPUTS + i),
        Decision("second operation", len(DARTS_OPERATIONS), first + INPUTS + i),
    )
)
