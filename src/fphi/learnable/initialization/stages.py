"""What of an inner loop changes in the course of training: the order of derivatives, the steps' weights."""

from fphi.learnable.initialization.step_weights import StepWeights
from fphi.within.progress import Staged
from fphi.within.unroll import DerivativeOrder

__all__ = ["StagedSteps"]


class StagedSteps(Staged):
    """An inner loop with such options, see `GradientLearner`."""

    steps: int
    order: DerivativeOrder
    first_order_until: float
    step_weights: StepWeights | None

    @property
    def is_staged(self) -> bool:
        ordered = self.order == 2 and 0 < self.first_order_until < 1
        return ordered or _are_staged(self.step_weights, self.steps)


def _are_staged(weights: StepWeights | None, steps: int) -> bool:
    """Whether they are others in the middle or at the end of a training than at its beginning."""
    if weights is None:
        return False
    first, *later = ([*(weights(steps, done) or ())] for done in (0.0, 0.5, 0.99))
    return any(then != first for then in later)
