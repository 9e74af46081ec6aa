"""A search space: which architectures there are, as sequences of decisions; how to change and build one."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from random import Random
from typing import ClassVar, SupportsIndex

from torch import nn

from fphi.errors import FphiError

__all__ = ["Decision", "Edge", "FixedSpace", "Graph", "SearchSpace", "Tokens"]

# An architecture as the answers to its space's decisions, in order. What optimizers and histories hold.
Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Decision:
    """One question about an architecture; its answers are 0 … choices-1.

    Args:
        name: the question. Decisions of one name are asked of several parts of an architecture, and a
            controller answers them with the same weights.
        choices: the number of answers.
        part: the number of the part (a layer, a node of a cell) that the question is about.
        about: earlier parts that the answers point at: one for each answer (which of them?), or a single
            one with two choices (this one: 0 no, 1 yes). Parts that no decision belongs to are inputs.
    """

    name: str
    choices: int
    part: int = 0
    about: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse answers that point at nothing."""
        if self.about and len(self.about) != self.choices and (len(self.about), self.choices) != (1, 2):
            raise ValueError(f"{self.choices} choices about the {len(self.about)} parts {self.about}")

    @property
    def is_connection(self) -> bool:
        """Whether it asks if this part is connected to a certain earlier one."""
        return len(self.about) == 1 and self.choices == 2


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


class SearchSpace(ABC):
    """A set of architectures, step 1 of a search. Subclasses are frozen dataclasses: fields are options.

    An architecture is handled as its `Tokens`; everything random takes its randomness from ``rng``.
    """

    name: ClassVar[str]

    @abstractmethod
    def decision(self, prefix: Tokens) -> Decision | None:
        """The question that comes after the answers ``prefix``; None: the architecture is complete."""

    @abstractmethod
    def text(self, tokens: Tokens) -> str:
        """The architecture in one readable line, different for different tokens."""

    @abstractmethod
    def parse(self, text: str) -> Tokens:
        """The tokens of what `text` wrote.

        Raises:
            FphiError: no architecture of this space is written so.
        """

    @abstractmethod
    def build(self, tokens: Tokens, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        """The network, freshly initialised: ``[n, *input_shape]`` to ``[n, outputs]``."""

    @abstractmethod
    def graphs(self, tokens: Tokens) -> list[Graph]:
        """What to draw: one graph for each cell, or one for the whole."""

    def sample(self, rng: Random) -> Tokens:
        """An architecture at random, every answer equally likely."""
        tokens: Tokens = ()
        while (decision := self.decision(tokens)) is not None:
            tokens += (rng.randrange(decision.choices),)
        return tokens

    def start(self, rng: Random) -> Tokens:
        """An architecture for the first population of an evolution; by default any."""
        return self.sample(rng)

    @abstractmethod
    def mutate(self, tokens: Tokens, rng: Random) -> Tokens:
        """An architecture that differs from this one in one thing."""

    def check(self, tokens: Sequence[int]) -> Tokens:
        """The tokens, if they are an architecture of this space.

        Raises:
            FphiError: a token is no answer to its question, or there are too few or too many.
        """
        prefix: Tokens = ()
        for token in tokens:
            decision = self.decision(prefix)
            if decision is None:
                raise FphiError(
                    f"{len(tokens)} tokens are too many for the space {self.name}: {prefix} is complete"
                )
            if not (isinstance(token, SupportsIndex) and 0 <= int(token) < decision.choices):
                raise FphiError(
                    f"token {token} at place {len(prefix)} is no answer to {decision.name!r} of the space "
                    f"{self.name}: 0 to {decision.choices - 1} are"
                )
            prefix += (int(token),)
        if self.decision(prefix) is not None:
            raise FphiError(f"{len(tokens)} tokens are too few for an architecture of the space {self.name}")
        return prefix


class FixedSpace(SearchSpace):
    """A space whose decisions do not depend on the answers before them."""

    @property
    @abstractmethod
    def decisions(self) -> tuple[Decision, ...]:
        """All questions in order."""

    @property
    def size(self) -> int:
        """The number of token sequences."""
        return prod(decision.choices for decision in self.decisions)

    def decision(self, prefix: Tokens) -> Decision | None:
        decisions = self.decisions
        return decisions[len(prefix)] if len(prefix) < len(decisions) else None

    def mutate(self, tokens: Tokens, rng: Random) -> Tokens:
        """Another answer to one question, both uniformly at random."""
        open_questions = [i for i, decision in enumerate(self.decisions) if decision.choices > 1]
        return self.changed(tokens, rng.choice(open_questions), rng)

    def changed(self, tokens: Tokens, place: int, rng: Random) -> Tokens:
        """Another answer at ``place``."""
        other = rng.randrange(self.decisions[place].choices - 1)
        other += other >= tokens[place]
        return (*tokens[:place], other, *tokens[place + 1 :])

    def everything(self) -> Iterator[Tokens]:
        """Every architecture, for spaces small enough."""

        def extend(prefix: Tokens) -> Iterator[Tokens]:
            decision = self.decision(prefix)
            if decision is None:
                yield prefix
                return
            for answer in range(decision.choices):
                yield from extend((*prefix, answer))

        return extend(())
