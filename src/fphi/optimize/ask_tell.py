"""Step 3 where L has no gradient: ask for a candidate, evaluate it anywhere, tell its loss."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from random import Random

from fphi.errors import FphiError
from fphi.learnable.space import Candidate, Space
from fphi.ranges import SEED, checked

__all__ = ["Growth", "RandomSearch", "SearchOptimizer"]

# The space that a candidate is from, by its number, where networks grow in the course of a search.
Growth = Callable[[int], Space]


class SearchOptimizer(ABC):
    """Proposes architectures and learns from their losses; any space, any executor.

    Candidates may be told in another order than they were asked for, and others asked for meanwhile. What
    an optimizer does is a function of its arguments and of the calls before: it draws the randomness of
    candidate i from (seed, i), so a search that is replayed call by call stands where it stood.

    Args:
        space: of the architectures.
        seed: of everything random.
    """

    @checked(seed=SEED)
    def __init__(self, space: Space, seed: int = 0) -> None:
        self.space, self.seed = space, seed
        self.asked = 0
        self.failed: set[int] = set()
        """Numbers of the candidates that were told as failures."""
        self._evaluated: set[int] = set()

    def ask(self) -> Candidate:
        """The next candidate.

        Raises:
            FphiError: it is not `ready`.
        """
        if not self.ready:
            raise FphiError("a round of candidates is being evaluated; tell the losses of all before asking")
        number = self.asked
        candidate = self.propose(number, Random(f"{self.seed}/{number}"))
        self.asked += 1
        return candidate

    @property
    def ready(self) -> bool:
        """Whether the next candidate can be asked for now, or only when others have been told."""
        return True

    @abstractmethod
    def propose(self, number: int, rng: Random) -> Candidate:
        """Candidate ``number``; all its randomness comes from ``rng``."""

    def tell(self, candidate: Candidate, loss: float, *, failed: bool = False) -> None:
        """Learn from a candidate's loss.

        Args:
            candidate: that was asked for.
            loss: to be minimised: the fraction of wrong answers on validation data, or any other number.
            failed: it has no loss of its own, and is worse than all that have one, whatever theirs are.

        Raises:
            FphiError: the loss is not finite, or the candidate was not asked for, or told before.
        """
        if not math.isfinite(loss):
            raise FphiError(
                f"the loss of candidate {candidate.number} is {loss}; tell a finite one, the worst there is "
                "for what failed"
            )
        if not candidate.number < self.asked or candidate.number in self._evaluated:
            what = "told before" if candidate.number < self.asked else "not asked for"
            raise FphiError(f"candidate {candidate.number} was {what}; tell each that ask() gave once")
        self._evaluated.add(candidate.number)
        if failed:
            self.failed.add(candidate.number)
        self.learn(candidate, loss)

    @abstractmethod
    def learn(self, candidate: Candidate, loss: float) -> None:
        """Take note of a candidate's loss; `tell` has checked both, and knows by ``failed`` who failed."""

    @property
    def parents(self) -> Collection[int] | None:
        """Numbers of the candidates that may yet have children; None: any may.

        Where children inherit, the weights of all others are deleted.
        """
        return None

    def standing(self) -> Mapping[str, float]:
        """Figures of how the search goes, e.g. the population's mean loss, for its history."""
        return {}


class RandomSearch(SearchOptimizer):
    """Architectures at random: what every search must beat at an equal budget.

    Args:
        space, seed: see `SearchOptimizer`.
        growth: of the search that it is the control of; None: all candidates are from ``space``.
    """

    @checked(seed=SEED)
    def __init__(self, space: Space, seed: int = 0, *, growth: Growth | None = None) -> None:
        super().__init__(space, seed)
        self.growth = growth

    def propose(self, number: int, rng: Random) -> Candidate:
        space = self.growth(number) if self.growth is not None else self.space
        return Candidate(number, space.sample(rng))

    def learn(self, candidate: Candidate, loss: float) -> None:
        """Nothing is learned."""
