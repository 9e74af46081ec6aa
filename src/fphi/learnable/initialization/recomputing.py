"""Inner steps of a learner whose graphs are computed again, one at a time, on the way back."""

from collections.abc import Callable

from torch import nn

from fphi.tasks.types import Examples
from fphi.within.optimizers import Parameters, State
from fphi.within.randomness import generators_of
from fphi.within.stand_in import own_parameters
from fphi.within.unroll import DerivativeOrder, StepFrom, descend_recomputed

__all__ = ["descend_again"]


def descend_again(
    learner: nn.Module,
    step_on: Callable[[Examples], StepFrom],
    given: Examples,
    now: Parameters,
    state: State,
    steps: int,
    order: DerivativeOrder,
) -> tuple[Parameters, State]:
    """Parameters and state after ``steps`` steps: see `descend_recomputed`.

    Args:
        learner: whose steps they are; a derivative may be wanted of all its parameters.
        step_on: a step on a support set that a derivative may be wanted of too.
        given: that set.
        now: see `descend_recomputed`, as the rest.
        state: see there.
        steps: see there.
        order: see there.
    """
    own = tuple(own_parameters(learner).values())
    leaf = Examples(*(part.detach().requires_grad_(part.requires_grad) for part in given))
    constants, leaves, drawn = (*own, *given), (*own, *leaf), generators_of(learner)
    return descend_recomputed(step_on(leaf), now, state, steps, order, constants, leaves, drawn)
