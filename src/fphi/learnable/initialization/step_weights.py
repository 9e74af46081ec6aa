"""The query loss after each inner step, and how much it counts in the course of training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite

from torch import Tensor

from fphi.errors import FphiError
from fphi.ranges import number, require_ranges
from fphi.within.optimizers import Parameters, State
from fphi.within.unroll import DerivativeOrder, StepFrom

__all__ = [
    "AnnealedWeights",
    "LossAfter",
    "StepWeights",
    "require_weights",
    "sum_of",
    "summing",
    "with_sum",
    "without_sum",
]

# Of the number of inner steps and the fraction of the training that is done: the weights of the query losses
# after step 1, 2, …; None: the last one alone counts.
StepWeights = Callable[[int, float], Sequence[float] | None]

# Of what was reached after an inner step, and how many were taken: the tasks' losses ``[B]``.
LossAfter = Callable[[Parameters, int], Tensor]

_LEAST = 0.03  # all but the last weight end at this, over the number of steps
_SUM = "sum of the steps' losses"  # among what is carried from step to step


@dataclass(frozen=True)
class AnnealedWeights:
    """All steps count alike at first, and the last one more and more (MAML++, arXiv 1810.09502).

    The weights sum to one. A network of many inner steps so has a gradient that does not pass through all of
    them, while it is still far from one that many steps improve.

    Args:
        until: the fraction of the training from which on the last step counts alone (paper: a tenth).

    >>> [round(weight, 3) for weight in AnnealedWeights(until=0.1)(5, 0.05)]
    [0.1, 0.1, 0.1, 0.1, 0.6]
    """

    until: float = number(0.1, 0, 1)

    def __post_init__(self) -> None:
        require_ranges(type(self), vars(self))

    def __call__(self, steps: int, progress: float) -> Sequence[float] | None:
        """v₁ … v_m after ``progress`` of the training; None where the last step counts alone."""
        if progress >= self.until or steps < 2:
            return None
        passed = progress / self.until
        others = max((1 - passed) / steps, _LEAST / steps)
        last = min((1 + passed * (steps - 1)) / steps, 1 - (steps - 1) * _LEAST / steps)
        return [*[others] * (steps - 1), last]


def require_weights(given: Sequence[float], steps: int) -> Sequence[float]:
    """The weights as numbers, one of each of the inner ``steps``.

    Raises:
        FphiError: there are more or fewer, or one is no finite number.
    """
    weights = [float(weight) for weight in given]
    if len(weights) != steps:
        raise FphiError(
            f"what step_weights gives has length {len(weights)}, and training takes {steps} inner steps: "
            "give a weight for each (0: its loss does not count), or None where the last one alone counts"
        )
    if not all(map(isfinite, weights)):
        raise FphiError(f"step_weights gives {weights}; give finite numbers")
    return weights


def summing(step_from: StepFrom, loss_after: LossAfter, weights: Sequence[float]) -> StepFrom:
    """The steps of ``step_from``, which carry the weighted sum of the losses after each too: see `with_sum`.

    So no step's graph has to be kept for it where steps are computed again.
    """

    def summed(
        now: Parameters, carried: State, step: int, order: DerivativeOrder
    ) -> tuple[Parameters, State]:
        now, state = step_from(now, without_sum(carried), step, order)
        total = sum_of(carried) + weights[step] * loss_after(now, step + 1)
        return now, {**state, _SUM: {_SUM: total}}

    return summed


def with_sum(state: State, inputs: Tensor) -> State:
    """The state before the first of such steps, for tasks of ``inputs: [B, ...]``."""
    return {**state, _SUM: {_SUM: inputs.new_zeros(len(inputs))}}


def sum_of(carried: State) -> Tensor:
    """The sum ``[B]`` so far."""
    return carried[_SUM][_SUM]


def without_sum(carried: State) -> State:
    """The update rule's own state."""
    return {name: part for name, part in carried.items() if name != _SUM}
