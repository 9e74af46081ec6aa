"""NASNet's space: a normal and a reduction cell of blocks, to be stacked to networks of any size."""

import re
from dataclasses import dataclass
from random import Random
from typing import ClassVar, Literal

from torch import nn

from fphi.errors import FphiError
from fphi.learnable.architecture.space import ArchitectureSpace, Edge, Graph
from fphi.learnable.space import Decision, FixedSpace, Tokens, lists_as_tuples
from fphi.networks.cells import INPUTS, CellNetwork, CellPlan, Link, Node
from fphi.networks.operations import OPERATIONS, Norm

__all__ = ["AMOEBANET_OPERATIONS", "NASNET_OPERATIONS", "AmoebaNetSpace", "CellSpace", "cell_graph"]

NASNET_OPERATIONS = (
    "identity", "conv_1x3_3x1", "conv_1x7_7x1", "dilated_3x3", "avg_pool_3x3", "max_pool_3x3",
    "max_pool_5x5", "max_pool_7x7", "conv_1x1", "conv_3x3", "separable_3x3", "separable_5x5", "separable_7x7",
)  # fmt: skip
# Those of Real et al. 2019, who always add.
AMOEBANET_OPERATIONS = (
    "identity", "separable_3x3", "separable_5x5", "separable_7x7", "avg_pool_3x3", "max_pool_3x3",
    "dilated_3x3", "conv_1x7_7x1",
)  # fmt: skip

_KINDS = ("normal", "reduction")
_SIGNS = {"add": "+", "concat": "|"}


@dataclass(frozen=True)
class CellSpace(FixedSpace, ArchitectureSpace):
    """Two cells of B blocks (Zoph et al., CVPR 2018, arXiv 1707.07012).

    A block takes two states, does an operation on each and combines the results to a new state. A state
    is the output of one of the two cells before, or an earlier block. The states that no block takes
    are concatenated. Five questions for each block are 50 for both cells; each is answered by a softmax
    of its own, as in the paper.

    The tokens say nothing of the options from ``cells`` on: ``dataclasses.replace(space, cells=6,
    channels=32)`` builds the same cells into a larger network.

    Args:
        blocks: B (paper: 5).
        operations: names of what a block can do.
        combinations: "add", "concat", or both; with a single one nobody is asked.
        cells: N, normal cells of each stage (paper: 2 while searching, 6 then).
        channels: of the first stage; each reduction doubles them (paper: 32 while searching).
        reductions: reduction cells (paper: 2).
        drop_path: probability that the result of an operation is dropped at the end of the training.
        unchanged: probability that a mutation changes nothing, so the parent is trained once more
            (Real et al. 2019: 0.05).
    """

    name: ClassVar[str] = "cells"

    blocks: int = 5
    operations: tuple[str, ...] = NASNET_OPERATIONS
    combinations: tuple[Literal["add", "concat"], ...] = ("add", "concat")
    cells: int = 1
    channels: int = 8
    reductions: int = 2
    drop_path: float = 0.0
    unchanged: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what no cell can be made of."""
        lists_as_tuples(self)
        for given, known in ((self.operations, OPERATIONS), (self.combinations, _SIGNS)):
            if not given or sorted(set(given) & set(known)) != sorted(given):
                raise FphiError(f"{given} of a cell: give one or more, each once, of {', '.join(known)}")
        if (
            min(self.blocks, self.channels) < 1
            or min(self.cells, self.reductions, self.cells + self.reductions - 1) < 0
        ):
            raise FphiError(
                f"blocks={self.blocks}, channels={self.channels}, cells={self.cells}, reductions="
                f"{self.reductions}: give at least one block, one channel and one cell"
            )
        if not 0 <= self.unchanged <= 1 or not 0 <= self.drop_path < 1:
            raise FphiError(
                f"unchanged={self.unchanged}, drop_path={self.drop_path}: give probabilities, and one "
                "below 1 to drop paths with"
            )

    @property
    def decisions(self) -> tuple[Decision, ...]:
        # The parts of the second cell go on counting.
        firsts = zip(_KINDS, (0, INPUTS + self.blocks), strict=True)
        return tuple(
            question
            for kind, first in firsts
            for block in range(self.blocks)
            for question in self._questions(f"{kind} {block}", INPUTS + block, first + INPUTS + block)
        )

    def _questions(self, where: str, states: int, part: int) -> list[Decision]:
        sources = [Decision(f"{where} {which} state", states, part) for which in ("first", "second")]
        chosen = [
            Decision(f"{where} {which} operation", len(self.operations), part)
            for which in ("first", "second")
        ]
        combined = Decision(f"{where} combination", len(self.combinations), part)
        return [*sources, *chosen, *([combined] if len(self.combinations) > 1 else [])]

    @property
    def _answers(self) -> int:
        """How many tokens a block has."""
        return 4 + (len(self.combinations) > 1)

    def mutate(self, tokens: Tokens, rng: Random) -> Tokens:
        """Another input, another operation or another combination of one block of one cell.

        Which of the three, then the cell, the block and the element, each uniformly at random; with the
        probability ``unchanged`` nothing at all. Where nobody is asked for combinations, these are the
        mutations of Real et al. 2019 (arXiv 1802.01548): of a hidden state, of an operation, the identity.
        """
        if rng.random() < self.unchanged:
            return tokens
        kinds: list[tuple[int, ...]] = [(0, 1)]
        kinds += [(2, 3)] if len(self.operations) > 1 else []
        kinds += [(4,)] if len(self.combinations) > 1 else []
        elements = rng.choice(kinds)
        block = rng.randrange(2 * self.blocks)
        return self.changed(tokens, block * self._answers + rng.choice(elements), rng)

    def plans(self, tokens: Tokens) -> tuple[CellPlan, CellPlan]:
        """The normal and the reduction cell."""
        step = self._answers
        blocks = [self._node(*tokens[i : i + step]) for i in range(0, len(tokens), step)]
        normal, reduction = tuple(blocks[: self.blocks]), tuple(blocks[self.blocks :])
        return CellPlan(normal, "unused"), CellPlan(reduction, "unused")

    def _node(self, first: int, second: int, one: int, other: int, combination: int = 0) -> Node:
        links = (Link(first, self.operations[one]), Link(second, self.operations[other]))
        return Node(links, self.combinations[combination])

    def text(self, tokens: Tokens) -> str:
        """Each cell's blocks as two operations on states, 0 and 1 being the inputs; + adds, | concatenates.

        >>> CellSpace(blocks=1).text((0, 1, 0, 9, 0, 1, 1, 4, 5, 1))
        'normal identity(0)+conv_3x3(1) reduction avg_pool_3x3(1)|max_pool_3x3(1)'
        """
        words = []
        for kind, plan in zip(_KINDS, self.plans(tokens), strict=True):
            words.append(kind)
            for node in plan.nodes:
                first, second = (f"{link.operation}({link.source})" for link in node.links)
                words.append(first + _SIGNS[node.combination] + second)
        return " ".join(words)

    def parse(self, text: str) -> Tokens:
        tokens: Tokens = ()
        for one, first, sign, other, second in re.findall(r"(\w+)\((\d+)\)([+|])(\w+)\((\d+)\)", text):
            combination = next(name for name, s in _SIGNS.items() if s == sign)
            if {one, other} <= set(self.operations) and combination in self.combinations:
                places = (self.operations.index(one), self.operations.index(other))
                tokens += (int(first), int(second), *places)
                tokens += (self.combinations.index(combination),) * (len(self.combinations) > 1)
        if len(tokens) == len(self.decisions) and self.text(self.check(tokens)) == text:
            return tokens
        example = self.text((0,) * len(self.decisions))
        raise FphiError(f"{text!r} is no architecture of the space {self.name}; one looks like {example!r}")

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
            reductions=self.reductions,
            norm=norm,
            drop_path=self.drop_path,
        )

    def graphs(self, tokens: Tokens) -> list[Graph]:
        """A graph for each cell."""
        return [cell_graph(kind, plan) for kind, plan in zip(_KINDS, self.plans(tokens), strict=True)]


@dataclass(frozen=True)
class AmoebaNetSpace(CellSpace):
    """The cells of Real et al., AAAI 2019 (arXiv 1802.01548).

    They are those of `CellSpace` with eight operations, whose results are always added: 40 questions. One
    mutation in twenty changes nothing; of the others half change an input, and half an operation.
    """

    name: ClassVar[str] = "amoebanet"

    operations: tuple[str, ...] = AMOEBANET_OPERATIONS
    combinations: tuple[Literal["add", "concat"], ...] = ("add",)
    unchanged: float = 0.05


def cell_graph(title: str, plan: CellPlan) -> Graph:
    """The drawing of a cell: its two inputs, its nodes by their combination, its output."""
    nodes = ("cell before last", "last cell", *(node.combination for node in plan.nodes), "output")
    inner = [
        Edge(link.source, state, link.operation)
        for state, node in enumerate(plan.nodes, start=INPUTS)
        for link in node.links
    ]
    return Graph(title, nodes, (*inner, *(Edge(state, len(nodes) - 1) for state in plan.outputs)))
