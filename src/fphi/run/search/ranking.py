"""Whether shared weights rank architectures as training each alone does: Kendall's τ."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import sqrt
from random import Random

from fphi.errors import FphiError
from fphi.learnable.architecture.supernet import Supernet
from fphi.learnable.space import Candidate, Tokens
from fphi.objective.outcome import Evaluate
from fphi.optimize.weight_sharing import shared_accuracy
from fphi.tasks.types import Examples

__all__ = ["Ranking", "kendall_tau", "shared_versus_alone"]


def kendall_tau(a: Sequence[float], b: Sequence[float]) -> float:
    """τ-b: agreeing pairs minus disagreeing ones, over the geometric mean of the pairs untied in each.

    Returns:
        From -1 to 1; nan where all values of one sequence are equal, which rank nothing.

    Raises:
        ValueError: the lengths differ.

    >>> kendall_tau([1, 2, 3, 4], [1, 3, 2, 4])  # five pairs agree, one does not
    0.6666666666666666
    """
    signs = [
        (_sign(a1 - a2), _sign(b1 - b2)) for (a1, b1), (a2, b2) in combinations(zip(a, b, strict=True), 2)
    ]
    untied_a, untied_b = sum(x != 0 for x, _ in signs), sum(y != 0 for _, y in signs)
    if not untied_a or not untied_b:
        return float("nan")
    return sum(x * y for x, y in signs) / sqrt(untied_a * untied_b)


@dataclass(frozen=True)
class Ranking:
    """Architectures with their validation accuracies.

    Args:
        tokens: the architectures.
        shared: accuracy with the shared weights, of each.
        alone: accuracy of each trained on its own.
        seconds: that all trainings alone took together.
    """

    tokens: list[Tokens]
    shared: list[float]
    alone: list[float]
    seconds: float

    @property
    def tau(self) -> float:
        """Kendall's τ-b of the two accuracies."""
        return kendall_tau(self.shared, self.alone)


def shared_versus_alone(
    supernet: Supernet,
    validation: Examples,
    evaluate: Evaluate,
    count: int = 20,
    seed: int = 0,
) -> Ranking:
    """Compare accuracies with shared weights and alone.

    The architectures are drawn from the space uniformly: those that a trained controller draws are too
    much alike to be ranked.

    Args:
        supernet: trained.
        validation: examples of the accuracy with shared weights, all of them.
        evaluate: trains a candidate on its own.
        count: different architectures.
        seed: of the architectures.

    Raises:
        FphiError: so many cannot be ranked.
    """
    space = supernet.space
    if not 2 <= count <= space.size:
        raise FphiError(f"{count} architectures cannot be ranked: give 2 to {space.size}")
    rng = Random(f"{seed}/ranking")
    drawn: dict[Tokens, None] = {}
    while len(drawn) < count:
        drawn[space.sample(rng)] = None
    tokens = list(drawn)
    shared = [shared_accuracy(supernet, one, validation) for one in tokens]
    outcomes = [evaluate(Candidate(number, one)) for number, one in enumerate(tokens)]
    alone = [1 - outcome.loss for outcome in outcomes]
    return Ranking(tokens, shared, alone, sum(outcome.seconds for outcome in outcomes))


def _sign(x: float) -> int:
    return (x > 0) - (x < 0)
