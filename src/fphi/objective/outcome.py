"""What comes of evaluating an architecture."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fphi.learnable.space import Candidate

__all__ = ["WORST", "Evaluate", "Outcome", "failed"]

WORST = 1.0
"""The loss of a candidate that failed: every answer wrong. Where losses are no fractions, and a search has
met greater ones, it is the greatest of these."""


@dataclass(frozen=True)
class Outcome:
    """An evaluated candidate.

    Args:
        loss: fraction of wrong answers on validation data, or another number; the search minimises it.
        seconds: that the evaluation took, measured or simulated; they count against the budget.
        failure: why there is no loss of its own; then ``loss`` is the worst there is.
        measures: what else is known, by name: parameters, test accuracy.
    """

    loss: float
    seconds: float
    failure: str = ""
    measures: Mapping[str, float] = field(default_factory=dict)


# Runs in any process: it and what it refers to can be pickled.
Evaluate = Callable[[Candidate], Outcome]


def failed(error: BaseException, seconds: float = 0.0) -> Outcome:
    """The outcome of a candidate whose evaluation raised ``error``."""
    return Outcome(WORST, seconds, f"{type(error).__name__}: {' '.join(str(error).split())}"[:500])
