"""What of an inner loop changes in the course of training: the order of derivatives, the steps' weights."""

from collections.abc import Sequence

from fphi.learnable.initialization.step_weights import StepWeights, require_weights
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
        # Whether weights are others in the middle or at the end of a training than at its beginning.
        first, *later = (self._weights_at(done) for done in (0.0, 0.5, 0.99))
        return ordered or any(then != first for then in later)

    def _weights_at(self, progress: float) -> Sequence[float] | None:
        """Those of the query losses after each of the steps; None: the last one alone counts."""
        given = None if self.step_weights is None else self.step_weights(self.steps, progress)
        return None if given is None else require_weights(given, self.steps)
