"""Population based training: a population trains at once, the worst go on with copies of the best.

Jaderberg et al., 2017, arXiv 1711.09846; the rules are those of Population Based Augmentation (Ho, Liang,
Stoica, Abbeel, Chen, ICML 2019, arXiv 1905.05393).
"""

import math
from collections.abc import Mapping, Sequence
from random import Random

from fphi.learnable.space import Candidate, FixedSpace, Tokens
from fphi.optimize.ask_tell import SearchOptimizer
from fphi.ranges import SEED, Range, checked

__all__ = ["PopulationBased", "explored", "lineage"]


def explored(space: FixedSpace, tokens: Tokens, rng: Random, redraw: float = 0.2, reach: int = 3) -> Tokens:
    """Another choice near this one.

    Args:
        space: of the tokens.
        tokens: each of which changes for itself.
        rng: of everything random.
        redraw: probability that a token is drawn anew, all its answers equally likely.
        reach: any other moves up or down by 0 … ``reach``, all equally likely, as far as there are answers.
    """
    found = []
    for token, decision in zip(tokens, space.decisions, strict=True):
        last = decision.choices - 1
        if rng.random() < redraw:
            found.append(rng.randint(0, last))
        else:
            moved = token + rng.choice((-1, 1)) * rng.randint(0, reach)
            found.append(min(max(moved, 0), last))
    return tuple(found)


class PopulationBased(SearchOptimizer):
    """Members train side by side, a round after the other; a candidate is one member in one round.

    Candidate ``number`` is member ``number % size`` in round ``number // size``. Its parent is the candidate
    of the round before that it goes on from, with its weights: itself, or, for a member of the worst, one of
    the best, drawn at random, whose choice it explores (see `explored`). A round begins when the one before
    has ended, so that nothing depends on who was faster.

    Args:
        space: of the choices.
        seed: of everything random.
        size: of the population (paper: 16).
        share: of the population that are the best, and the worst (paper: a quarter); at least one each, and
            none is both.
        redraw, reach: see `explored`.
    """

    space: FixedSpace

    @checked(seed=SEED, size=Range(2), share=Range(0, 0.5, open=True), redraw=Range(0, 1), reach=Range(0))
    def __init__(
        self,
        space: FixedSpace,
        seed: int = 0,
        *,
        size: int = 16,
        share: float = 0.25,
        redraw: float = 0.2,
        reach: int = 3,
    ) -> None:
        super().__init__(space, seed)
        self.size, self.share, self.redraw, self.reach = size, share, redraw, reach
        self._before: list[tuple[float, Candidate]] = []
        self._now: list[tuple[float, Candidate]] = []

    @property
    def ready(self) -> bool:
        """Whether the next candidate can be asked for: its round may begin."""
        return self.asked // self.size == 0 or self.asked % self.size != 0 or len(self._now) == self.size

    def propose(self, number: int, rng: Random) -> Candidate:
        round_, member = divmod(number, self.size)
        if round_ == 0:
            return Candidate(number, self.space.start(rng))
        if member == 0:
            self._before, self._now = sorted(self._now, key=self._rank), []
        few = min(self.size // 2, max(1, round(self.share * self.size)))
        own = next(c for _, c in self._before if c.number % self.size == member)
        if own not in [candidate for _, candidate in self._before[-few:]]:
            return Candidate(number, own.tokens, own.number)
        source = rng.choice(self._before[:few])[1]
        tokens = explored(self.space, source.tokens, rng, self.redraw, self.reach)
        return Candidate(number, tokens, source.number)

    def learn(self, candidate: Candidate, loss: float) -> None:
        self._now.append((loss, candidate))

    def _rank(self, told: tuple[float, Candidate]) -> tuple[bool, float, int]:
        """The best first, who failed last."""
        loss, candidate = told
        return candidate.number in self.failed, loss, candidate.number

    @property
    def parents(self) -> list[int]:
        return [candidate.number for _, candidate in (*self._before, *self._now)]

    def standing(self) -> Mapping[str, float]:
        losses = [loss for loss, _ in self._now]
        return {"population": len(losses), "population_loss": sum(losses) / len(losses)} if losses else {}


def lineage(told: Sequence[tuple[Candidate, float]], size: int) -> list[Candidate]:
    """The line of the best of the last whole round of which not all failed, from its first ancestor on.

    Args:
        told: candidates of a `PopulationBased` with their losses, infinite where they failed, in any order.
        size: of the population.
    """
    by_number = {candidate.number: (loss, candidate) for candidate, loss in told}
    rounds = [number // size for number in by_number]
    alive = {number // size for number, (loss, _) in by_number.items() if math.isfinite(loss)}
    last = max((round_ for round_ in alive if rounds.count(round_) == size), default=0)
    final = [entry for number, entry in by_number.items() if number // size == last]
    line = [min(final, key=lambda entry: (entry[0], entry[1].number))[1]]
    while (parent := line[-1].parent) is not None:
        line.append(by_number[parent][1])
    return line[::-1]
