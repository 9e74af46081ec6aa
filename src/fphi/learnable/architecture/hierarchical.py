"""Hierarchical representations: motifs of operations, motifs of motifs, and a cell at the top."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import ClassVar, NamedTuple

from torch import nn

from fphi.errors import FphiError
from fphi.learnable.architecture.space import ArchitectureSpace, Edge, Graph
from fphi.learnable.space import Decision, FixedSpace, Tokens, lists_as_tuples
from fphi.networks.motifs import Arrow, Motif, MotifNetwork, flatten
from fphi.networks.operations import OPERATIONS, Norm

__all__ = ["HierarchicalSpace"]


class _Place(NamedTuple):
    """What a token is about: an edge of one motif."""

    level: int
    motif: int
    start: int
    end: int


@dataclass(frozen=True)
class HierarchicalSpace(FixedSpace, ArchitectureSpace):
    """Cells in levels (Liu et al., ICLR 2018, arXiv 1711.00436).

    A motif of level l says for each pair of its nodes which motif of level l - 1 leads from the one to
    the other, or none; those of level 1 are operations. The only motif of the top level is the cell. The
    answer 0 is none, k is number k of the level below.

    Nodes concatenate; a 1x1 convolution then brings them back to the channels of the cell, which the
    paper does not need, since there the channels grow from node to node.

    Args:
        operations: of level 1.
        motifs: how many there are of each level from the second on, but the top (paper: 6 of level 2).
            Empty: a flat search of one cell.
        nodes: of the motifs of each level from the second on, the top included (paper: 4, and 5 of the
            cell; 11 in the flat search).
        cells: of each stage.
        channels: of the first stage; each reduction doubles them.
        reductions: stages but one; separable convolutions with stride 2 lead from each to the next.
        diversify: mutations of what a search starts with, motifs that do nothing (paper: 1,000).
    """

    name: ClassVar[str] = "hierarchical"

    operations: tuple[str, ...] = (
        "conv_1x1", "depthwise_3x3", "separable_3x3", "max_pool_3x3", "avg_pool_3x3", "identity"
    )  # fmt: skip
    motifs: tuple[int, ...] = (6,)
    nodes: tuple[int, ...] = (4, 5)
    cells: int = 1
    channels: int = 8
    reductions: int = 2
    diversify: int = 1000

    def __post_init__(self) -> None:
        """Refuse what has no motifs, and levels that do not fit."""
        lists_as_tuples(self)
        if len(self.nodes) != len(self.motifs) + 1 or min(self.motifs, default=1) < 1 or min(self.nodes) < 2:
            raise FphiError(
                f"motifs={self.motifs}, nodes={self.nodes}: give one number of nodes, at least 2, for each "
                "number of motifs, at least 1, and one for the cell"
            )
        known = sorted(set(OPERATIONS) - {"none"})
        fitting = sorted(set(self.operations) & set(known)) == sorted(self.operations)
        if "identity" not in self.operations or len(self.operations) < 2 or not fitting:
            raise FphiError(
                f"operations={self.operations}: give the identity and one or more others, each once, of "
                f"{', '.join(known)}"
            )
        if min(self.cells, self.channels) < 1 or min(self.reductions, self.diversify) < 0:
            raise FphiError(
                f"cells={self.cells}, channels={self.channels}, reductions={self.reductions}, diversify="
                f"{self.diversify}: give at least one cell and one channel, and the others from 0 on"
            )

    @property
    def decisions(self) -> tuple[Decision, ...]:
        ends = {place[:2] + place[3:]: 0 for place in self._places()}  # level, motif and end of each
        part = {end: number for number, end in enumerate(ends)}
        return tuple(
            Decision(f"level {place.level + 2}", self._choices(place.level), part[place[:2] + place[3:]])
            for place in self._places()
        )

    def sample(self, rng: Random) -> Tokens:
        """An architecture at random, every answer equally likely; once more where nothing reaches its end."""
        while not self.connected(tokens := super().sample(rng)):
            pass
        return tokens

    def start(self, rng: Random) -> Tokens:
        """Chains of identities, mutated ``diversify`` times.

        The first motif of each level is a chain of the first of the level below, so all of them are the
        identity.
        """
        identity = 1 + self.operations.index("identity")
        tokens = tuple(
            (identity if place.level == 0 else 1) if place.start == place.end - 1 else 0
            for place in self._places()
        )
        for _ in range(self.diversify):
            tokens = self.mutate(tokens, rng)
        return tokens

    def mutate(self, tokens: Tokens, rng: Random) -> Tokens:
        """Another answer for one edge of one motif, which changes every use of the motif.

        A level at random, one of its motifs, a node, a node before it, and what is to be between them:
        none takes away, else something is added or replaced. Once more where nothing would reach the end.
        """
        while True:
            level = rng.randrange(len(self.nodes))
            end = rng.randrange(1, self.nodes[level])
            number = self._number(_Place(level, rng.randrange(self._counts[level]), rng.randrange(end), end))
            other = rng.randrange(self._choices(level) - 1)
            other += other >= tokens[number]
            mutated = (*tokens[:number], other, *tokens[number + 1 :])
            # Another operation in the place of one breaks no path.
            if (level == 0 and other and tokens[number]) or self.connected(mutated):
                return mutated

    def connected(self, tokens: Tokens) -> bool:
        """Whether anything of the cell's input reaches its output."""
        passes = [False, *(True for _ in self.operations)]  # by answer
        answers = iter(tokens)
        for nodes, count in zip(self.nodes, self._counts, strict=True):
            own = [False]
            for _ in range(count):
                reached = [True]
                for end in range(1, nodes):
                    ways = [passes[next(answers)] and reached[start] for start in range(end)]
                    reached.append(any(ways))
                own.append(reached[-1])
            passes = own
        return passes[1]

    def motif(self, tokens: Tokens) -> Motif:
        """The cell, with the motifs in it."""
        below: list[str | Motif] = list(self.operations)
        answers = iter(zip(self._places(), tokens, strict=True))
        for level, count in enumerate(self._counts):
            edges = self.nodes[level] * (self.nodes[level] - 1) // 2
            own: list[str | Motif] = []
            for _ in range(count):
                pairs = [next(answers) for _ in range(edges)]
                arrows = [Arrow(p.start, p.end, below[answer - 1]) for p, answer in pairs if answer]
                own.append(Motif(self.nodes[level], tuple(arrows)))
            below = own
        cell = below[0]
        assert isinstance(cell, Motif)
        return cell

    def flat(self, tokens: Tokens) -> Motif:
        """The cell as one graph of operations, which computes the same."""
        return flatten(self.motif(tokens))[0]

    def text(self, tokens: Tokens) -> str:
        """Level and number of each motif, and what leads to each node but the first from those before it.

        >>> HierarchicalSpace(motifs=(1,), nodes=(3, 2)).text((6, 1, 0, 1))
        '2.1: identity / conv_1x1 none; 3.1: 2.1'
        """
        words: dict[tuple[int, int], str] = {}
        for place, answer in zip(self._places(), tokens, strict=True):
            head = f"{place.level + 2}.{place.motif + 1}:"
            line = words.get(place[:2], head)
            line += " /" if place.start == 0 and line != head else ""
            words[place[:2]] = f"{line} {self._names(place.level)[answer]}"
        return "; ".join(words.values())

    def parse(self, text: str) -> Tokens:
        places = list(self._places())
        words = re.sub(r"\d+\.\d+:|[;/]", " ", text).split()
        tokens: Tokens = ()
        if len(words) == len(places):
            names = [self._names(place.level) for place in places]
            tokens = tuple(of.index(w) if w in of else -1 for of, w in zip(names, words, strict=True))
        if tokens and min(tokens) >= 0 and self.text(tokens) == text:
            return tokens
        example = self.text((0,) * len(places))
        raise FphiError(f"{text!r} is no architecture of the space {self.name}; one looks like {example!r}")

    def build(self, tokens: Tokens, input_shape: tuple[int, ...], outputs: int) -> MotifNetwork:
        return self.network(tokens, input_shape, outputs)

    def network(
        self,
        tokens: Tokens,
        input_shape: tuple[int, ...],
        outputs: int | None,
        norm: Norm = nn.BatchNorm2d,
    ) -> MotifNetwork:
        """`build` with a normalisation of one's choice; ``outputs=None`` leaves the linear layer out."""
        return MotifNetwork(
            self.motif(self.check(tokens)),
            input_shape,
            outputs,
            channels=self.channels,
            cells_per_stage=self.cells,
            reductions=self.reductions,
            norm=norm,
        )

    def graphs(self, tokens: Tokens) -> list[Graph]:
        """The cell, and each motif; edges are labelled with what they stand for."""
        edges: dict[tuple[int, int], list[Edge]] = {}
        for place, answer in zip(self._places(), tokens, strict=True):
            own = edges.setdefault(place[:2], [])
            if answer:
                own.append(Edge(place.start, place.end, self._names(place.level)[answer]))
        graphs = []
        for (level, motif), own in reversed(edges.items()):
            top = level == len(self.motifs)
            nodes = ("input", *(str(node) for node in range(1, self.nodes[level] - 1)), "output")
            graphs.append(Graph("cell" if top else f"motif {level + 2}.{motif + 1}", nodes, tuple(own)))
        return graphs

    @property
    def _counts(self) -> tuple[int, ...]:
        """Motifs of each level from the second on."""
        return (*self.motifs, 1)

    def _choices(self, level: int) -> int:
        return 1 + (self.motifs[level - 1] if level else len(self.operations))

    def _names(self, level: int) -> tuple[str, ...]:
        """The answers to a question of a level."""
        below = [f"{level + 1}.{number}" for number in range(1, self._choices(level))]
        return ("none", *(below if level else self.operations))

    def _number(self, place: _Place) -> int:
        """Which token is about it."""
        edges = [nodes * (nodes - 1) // 2 for nodes in self.nodes]
        before = sum(e * count for e, count in zip(edges[: place.level], self.motifs, strict=False))
        inside = place.end * (place.end - 1) // 2 + place.start
        return before + place.motif * edges[place.level] + inside

    def _places(self) -> Iterator[_Place]:
        """What each token is about, in order; level 0 is the paper's level 2."""
        for level, count in enumerate(self._counts):
            for motif in range(count):
                for end in range(1, self.nodes[level]):
                    for start in range(end):
                        yield _Place(level, motif, start, end)
