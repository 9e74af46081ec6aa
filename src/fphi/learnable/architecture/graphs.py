"""Free graphs: networks that grow from a linear one, mutation by mutation, with their learning rates."""

import re
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import ClassVar

from torch import nn

from fphi.errors import FphiError
from fphi.learnable.architecture.graph_architecture import (
    IMAGE,
    Convolution,
    GraphArchitecture,
    GraphLimits,
    Vertex,
)
from fphi.learnable.architecture.graph_mutations import mutate_graph
from fphi.learnable.architecture.graph_network import GraphNetwork
from fphi.learnable.architecture.space import ArchitectureSpace, Edge, Graph
from fphi.learnable.space import Decision, Tokens
from fphi.networks.operations import Norm

__all__ = ["GraphSpace"]

_Questions = Generator[Decision, int, GraphArchitecture]
# Answers to what comes next: whether a convolution leads to the vertex, whether it is activated. 0: no more.
_VERTICES = ((True, False), (True, True), (False, False), (False, True))
# Every prefix's question is found from the first one on, so the same ones come up again and again.
_asked = lru_cache(maxsize=None)(Decision)
_VERTEX = re.compile(r"(\d+) (?:conv (\d+)x(\d+)/(\d+) (\d+)|one-to-one)( bn-relu)?((?: \+(?:image|\d+))*)")


@dataclass(frozen=True)
class GraphSpace(GraphLimits, ArchitectureSpace):
    """Graphs of any length up to a limit (Real et al., ICML 2017, arXiv 1703.01041).

    An architecture is a chain of vertices, each with the convolution that leads to it or none, and skips
    from any to any later one. It has a learning rate, and says whether it inherits weights. Where edges
    meet, the chain's own decides the shape, and the others are resized without weights.

    Vertices have identities, which name their weights and are kept when others come and go before them;
    they are tokens too, though they do not change what a network computes.
    """

    name: ClassVar[str] = "graphs"

    def decision(self, prefix: Tokens) -> Decision | None:
        questions = self._questions()
        try:
            decision = next(questions)
            for token in prefix:
                decision = questions.send(token)
        except StopIteration:
            return None
        return decision

    def start(self, rng: Random) -> Tokens:
        """The network of one linear layer."""
        return self.tokens(GraphArchitecture(self.first_rate))

    def mutate(self, tokens: Tokens, rng: Random) -> Tokens:
        """One of the eleven mutations; two of them leave the graph itself alone: identity, reset weights."""
        return self.tokens(mutate_graph(self.architecture(tokens), self, rng))

    def learning_rate(self, tokens: Tokens) -> float:
        """The rate that it is trained with."""
        return self.rates[self.architecture(tokens).rate]

    def inherits(self, tokens: Tokens) -> bool:
        """Whether it is trained on from its parent's weights."""
        return not self.architecture(tokens).reset

    def architecture(self, tokens: Tokens) -> GraphArchitecture:
        """What the tokens stand for."""
        questions = self._questions()
        try:
            next(questions)
            for token in tokens:
                questions.send(token)
        except StopIteration as end:
            graph: GraphArchitecture = end.value
            return graph
        raise ValueError(f"{tokens} is no whole architecture")

    def tokens(self, graph: GraphArchitecture) -> Tokens:
        """What stands for the architecture, which must be within the limits."""
        answers = [int(graph.reset), graph.rate]
        free = list(range(self.vertices))
        for place, vertex in enumerate(graph.vertices):
            answers.append(1 + _VERTICES.index((vertex.edge is not None, vertex.activated)))
            answers.append(free.index(vertex.identity))
            free.remove(vertex.identity)
            if vertex.edge is not None:
                answers += [
                    self.filters.index(vertex.edge.height),
                    self.filters.index(vertex.edge.width),
                    self.strides.index(vertex.edge.stride),
                    vertex.edge.channels - 1,
                ]
            answers += [int(start in vertex.skips) for start in graph.identities[: place + 1]]
        return (*answers, 0) if len(graph.vertices) < self.vertices else tuple(answers)

    def _questions(self) -> _Questions:
        """All questions, each after the answer to the one before; returns what was answered.

        Part 0 is the training, part 1 the image, part 2 the first vertex.
        """
        reset = yield _asked("weights", 2)
        rate = yield _asked("learning rate", len(self.rates))
        vertices: list[Vertex] = []
        free = list(range(self.vertices))
        while free:
            part = 2 + len(vertices)
            kind = yield _asked("vertex", 1 + len(_VERTICES), part)
            if kind == 0:
                break
            convolved, activated = _VERTICES[kind - 1]
            # One name for each number of answers: a controller learns weights by name.
            identity = free.pop((yield _asked(f"identity, of {len(free)}", len(free), part)))
            edge = (yield from self._edge_questions(part)) if convolved else None
            skips = []
            for i, start in enumerate((IMAGE, *(vertex.identity for vertex in vertices))):
                if (yield _asked("skip", 2, part, about=(1 + i,))):
                    skips.append(start)
            vertices.append(Vertex(identity, edge, activated, frozenset(skips)))
        return GraphArchitecture(rate, tuple(vertices), bool(reset))

    def _edge_questions(self, part: int) -> Generator[Decision, int, Convolution]:
        filters, strides = self.filters, self.strides
        height = yield _asked("filter height", len(filters), part)
        width = yield _asked("filter width", len(filters), part)
        stride = yield _asked("stride", len(strides), part)
        channels = yield _asked("channels", self.most_channels, part)
        return Convolution(filters[height], filters[width], strides[stride], channels + 1)

    def text(self, tokens: Tokens) -> str:
        """The learning rate, then each vertex: identity, edge, activation, skips.

        >>> GraphSpace().text((0, 16, 2, 4, 1, 2, 1, 15, 1, 3, 0, 0, 1, 0))
        'lr 0.1; 4 conv 3x5/2 16 bn-relu +image; 0 one-to-one +4'
        """
        graph = self.architecture(tokens)
        words = [f"lr {self.rates[graph.rate]:.4g}", *(["new weights"] if graph.reset else [])]
        for vertex in graph.vertices:
            edge = vertex.edge
            way = f"conv {_size(edge)} {edge.channels}" if edge else "one-to-one"
            skips = [start for start in graph.identities if start in vertex.skips]
            added = "".join(f" +{'image' if start == IMAGE else start}" for start in skips)
            words.append(f"{vertex.identity} {way}{' bn-relu' if vertex.activated else ''}{added}")
        return "; ".join(words)

    def parse(self, text: str) -> Tokens:
        rate, *words = text.split("; ")
        rates = [f"lr {one:.4g}" for one in self.rates]
        reset = words[:1] == ["new weights"]
        matches = [_VERTEX.fullmatch(word) for word in words[reset:]]
        with suppress(ValueError, FphiError):  # whatever it is, it is said below
            vertices = tuple(_vertex(match) for match in matches if match is not None)
            tokens = self.check(self.tokens(GraphArchitecture(rates.index(rate), vertices, reset)))
            if self.text(tokens) == text:
                return tokens
        raise FphiError(
            f"{text!r} is no architecture of the space {self.name} with up to {self.vertices} vertices; "
            f"one looks like '{rates[self.first_rate]}; 0 conv 3x3/2 8 bn-relu; 1 one-to-one +image'"
        )

    def build(self, tokens: Tokens, input_shape: tuple[int, ...], outputs: int) -> GraphNetwork:
        return self.network(tokens, input_shape, outputs)

    def network(
        self,
        tokens: Tokens,
        input_shape: tuple[int, ...],
        outputs: int | None,
        norm: Norm = nn.BatchNorm2d,
    ) -> GraphNetwork:
        """`build` with a normalisation of one's choice; ``outputs=None`` leaves the linear layer out."""
        return GraphNetwork(self.architecture(self.check(tokens)), input_shape, outputs, norm)

    def graphs(self, tokens: Tokens) -> list[Graph]:
        graph = self.architecture(tokens)
        numbers = {identity: number for number, identity in enumerate(graph.identities)}
        edges = []
        for number, vertex in enumerate(graph.vertices, start=1):
            edge = vertex.edge
            label = f"{_size(edge)}, {edge.channels}" if edge else "one-to-one"
            edges.append(Edge(number - 1, number, label))
            edges += [
                Edge(numbers[start], number, "skip") for start in graph.identities if start in vertex.skips
            ]
        edges.append(Edge(len(graph.vertices), len(graph.vertices) + 1, "mean, linear"))
        labels = ["BN, ReLU" if vertex.activated else "linear" for vertex in graph.vertices]
        return [
            Graph(f"learning rate {self.rates[graph.rate]:.4g}", ("image", *labels, "output"), tuple(edges))
        ]


def _size(edge: Convolution) -> str:
    return f"{edge.height}x{edge.width}/{edge.stride}"


def _vertex(match: re.Match[str]) -> Vertex:
    identity, height, width, stride, channels, activated, skips = match.groups()
    edge = Convolution(int(height), int(width), int(stride), int(channels)) if height else None
    starts = [IMAGE if word == "image" else int(word) for word in re.findall(r"\+(\w+)", skips)]
    return Vertex(int(identity), edge, activated is not None, frozenset(starts))
