"""Evolution: a population of architectures that change one thing at a time; what differs is who dies."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from fphi.learnable.space import Candidate, Space, Tokens
from fphi.optimize.ask_tell import SearchOptimizer
from fphi.ranges import SEED, Range, checked

__all__ = ["AgingEvolution", "Evolution", "PairwiseTournament", "TournamentWithoutRemoval"]


@dataclass(frozen=True)
class _Individual:
    number: int
    tokens: Tokens
    loss: float
    failed: bool


class Evolution(SearchOptimizer):
    """A first population, then children of selected parents. Of equal losses the older individual wins.

    Who failed loses to all others, whatever their losses.

    Args:
        space: with its mutations.
        seed: of everything random.
        size: individuals of the first population.
    """

    @checked(seed=SEED)
    def __init__(self, space: Space, seed: int = 0, *, size: int) -> None:
        super().__init__(space, seed)
        self.size = size
        self.population: list[_Individual] = []

    def propose(self, number: int, rng: Random) -> Candidate:
        # With many workers the first individuals may still be at school when the first children are due.
        if number < self.size or not self.population:
            return Candidate(number, self.space.start(rng))
        parent = self.select(rng)
        return Candidate(number, self.space.mutate(parent.tokens, rng), parent.number)

    @abstractmethod
    def select(self, rng: Random) -> _Individual:
        """The parent of the next child."""

    def learn(self, candidate: Candidate, loss: float) -> None:
        failed = candidate.number in self.failed
        self.population.append(_Individual(candidate.number, candidate.tokens, loss, failed))

    @property
    def parents(self) -> list[int]:
        return [individual.number for individual in self.population]

    def standing(self) -> Mapping[str, float]:
        losses = [individual.loss for individual in self.population]
        return {"population": len(losses), "population_loss": sum(losses) / len(losses)} if losses else {}


class AgingEvolution(Evolution):
    """Regularized evolution: the oldest dies, however good (Real et al. 2019, arXiv 1802.01548).

    Args:
        space, seed, size: see `Evolution`.
        sample: individuals drawn with replacement, the best of which is the parent; 1 is no selection.
    """

    @checked(seed=SEED)
    def __init__(self, space: Space, seed: int = 0, *, size: int = 100, sample: int = 25) -> None:
        super().__init__(space, seed, size=size)
        self.sample = sample

    def select(self, rng: Random) -> _Individual:
        return _best([rng.choice(self.population) for _ in range(self.sample)])

    def learn(self, candidate: Candidate, loss: float) -> None:
        super().learn(candidate, loss)
        if len(self.population) > self.size:
            del self.population[0]


class PairwiseTournament(Evolution):
    """Of two individuals the worse dies and the better has a child (Real et al. 2017, arXiv 1703.01041)."""

    def select(self, rng: Random) -> _Individual:
        if len(self.population) == 1:
            return self.population[0]
        pair = rng.sample(self.population, 2)
        best = _best(pair)
        # Its place is free until the child's loss is told: as many places as workers.
        self.population.remove(next(other for other in pair if other is not best))
        return best


class TournamentWithoutRemoval(Evolution):
    """The best of a sample has a child, nobody dies (Liu et al. 2018, arXiv 1711.00436).

    Args:
        space, seed, size: see `Evolution`.
        share: of the population that is drawn, without replacement; at least two individuals, as one has
            no rival.
    """

    @checked(seed=SEED, share=Range(0, 1, open=True))
    def __init__(self, space: Space, seed: int = 0, *, size: int = 200, share: float = 0.05) -> None:
        super().__init__(space, seed, size=size)
        self.share = share

    def select(self, rng: Random) -> _Individual:
        alive = len(self.population)
        return _best(rng.sample(self.population, min(alive, max(2, round(self.share * alive)))))


def _best(individuals: list[_Individual]) -> _Individual:
    return min(individuals, key=lambda one: (one.failed, one.loss, one.number))
