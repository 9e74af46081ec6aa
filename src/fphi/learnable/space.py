"""A space: what can be chosen, as sequences of decisions, and how to change them. It knows no networks."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from random import Random
from typing import ClassVar, SupportsIndex

from fphi.errors import FphiError

__all__ = ["Candidate", "Decision", "FixedSpace", "Space", "Tokens", "lists_as_tuples"]

# What was chosen: the answers to the space's decisions, in order. It is what optimizers and histories hold.
Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Candidate:
    """A choice to be evaluated.

    Args:
        number: how many were asked for before it.
        tokens: the choice.
        parent: number of the candidate that it was changed from, whose weights it may inherit.
    """

    number: int
    tokens: Tokens
    parent: int | None = None


@dataclass(frozen=True)
class Decision:
    """One question about what is chosen; its answers are 0 … choices-1.

    Args:
        name: the question. Decisions of one name are asked of several parts, and a
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


class Space(ABC):
    """What can be chosen, step 1 of a search. Subclasses are frozen dataclasses: fields are options.

    Whatever is chosen (an architecture, an augmentation policy) is handled as its `Tokens`; everything random
    takes its randomness from ``rng``.
    """

    name: ClassVar[str]

    @abstractmethod
    def decision(self, prefix: Tokens) -> Decision | None:
        """The question that comes after the answers ``prefix``; None: there is none, all is answered."""

    @abstractmethod
    def text(self, tokens: Tokens) -> str:
        """It in one readable line, different for different tokens."""

    @abstractmethod
    def parse(self, text: str) -> Tokens:
        """The tokens of what `text` wrote.

        Raises:
            FphiError: nothing of this space is written so.
        """

    def sample(self, rng: Random) -> Tokens:
        """One at random, every answer equally likely."""
        tokens: Tokens = ()
        while (decision := self.decision(tokens)) is not None:
            tokens += (rng.randrange(decision.choices),)
        return tokens

    def start(self, rng: Random) -> Tokens:
        """One for the first population of an evolution; by default any."""
        return self.sample(rng)

    @abstractmethod
    def mutate(self, tokens: Tokens, rng: Random) -> Tokens:
        """One that differs from this one in one thing."""

    def check(self, tokens: Sequence[int]) -> Tokens:
        """The tokens, if they are of this space.

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
            raise FphiError(f"{len(tokens)} tokens are too few for the space {self.name}")
        return prefix


def lists_as_tuples(space: Space) -> None:
    """Turn a space's options that are lists into tuples, for its ``__post_init__``: a space has a hash."""
    for name, value in list(vars(space).items()):
        if isinstance(value, list):
            object.__setattr__(space, name, tuple(value))


class FixedSpace(Space):
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
