"""Whether what is answered for one row of a batch depends on the others, found by changing them."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fphi.within.randomness import RandomState

__all__ = ["answers_after", "rows_share"]


@torch.no_grad()
def rows_share(outputs: Callable[[Tensor], Tensor], rows: Tensor) -> bool:
    """Whether an output of the first task ``[1, Q, *out]`` changes when rows beside its own do.

    Tried by changing all but the first, all but the last, and every second from either: a row may depend on
    those before it alone, or on a neighbour.
    """
    first, count = rows[:1], rows.shape[1]
    if count < 2:
        return False
    place = torch.arange(count, device=rows.device)
    drawn = RandomState.now()
    before = outputs(first)
    for kept in (place == 0, place == count - 1, place % 2 == 0, place % 2 == 1):
        drawn.restore()  # each time what is drawn is the same
        shape = (1, count, *[1] * (first.dim() - 2))
        after = outputs(torch.where(kept.view(shape), first, _altered(first)))
        if not torch.allclose(before[:, kept], after[:, kept], rtol=0, atol=0, equal_nan=True):
            drawn.restore()
            return True
    drawn.restore()
    return False


def answers_after(learner: Any, support: Any) -> Callable[[Tensor], Tensor]:
    """``learner.answering(support)``, unless its class has another ``solve``, which then is what answers."""
    once = issubclass(_owner(learner, "answering"), _owner(learner, "solve"))
    return learner.answering(support) if once else partial(learner.solve, support)


def _owner(thing: object, method: str) -> type:
    """The class whose ``method`` is called."""
    return next(cls for cls in type(thing).__mro__ if method in vars(cls))


def _altered(x: Tensor) -> Tensor:
    """Other examples ``[1, Q, *input]``; whole numbers, which may be those of tokens, stay within bounds."""
    if x.dtype == torch.bool:
        return ~x
    if x.is_complex() or bool((x != x.round()).any()):
        return 2 * x + 1
    low, high = x.aminmax(dim=1, keepdim=True)
    return high - x + low
