"""What methods with an inner loop have in common whose training may begin with something easier (MAML++)."""

from dataclasses import dataclass

from fphi.learnable.initialization.step_weights import AnnealedWeights, StepWeights
from fphi.methods.base import FewShotMethod
from fphi.ranges import number

__all__ = ["Staged"]


@dataclass(frozen=True)
class Staged(FewShotMethod):
    """Settings of an inner loop that training begins with something easier.

    Args:
        multi_step: the part of the training in which the query loss after every inner step counts, the
            others less and less against the last (multi-step loss); 0: the last alone, always.
        first_order: the part of the training, from its beginning, that takes the inner gradients as constants
            (derivative-order annealing).
    """

    multi_step: float = number(0.0, 0, 1)
    first_order: float = number(0.0, 0, 1)

    @property
    def step_weights(self) -> StepWeights | None:
        """How much the loss after each step counts; None: the last alone."""
        return AnnealedWeights(self.multi_step) if self.multi_step else None
