"""Any update rule, of which the step size alone is learned: what learned rules are compared with."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn

from fphi.ranges import checked
from fphi.within.optimizers import InnerOptimizer, Parameters, State, UpdateRule

__all__ = ["TunedRate", "rescaled"]

_MORE: ContextVar[float] = ContextVar("_MORE", default=0.0)


class TunedRate(InnerOptimizer):
    """A rule whose steps are all multiplied by one learned number, e^s; s begins at 0.

    Args:
        rule: says the steps; what it learns itself is not registered.
    """

    @checked()
    def __init__(self, rule: UpdateRule) -> None:
        super().__init__()
        self.rule = rule
        self.reads_loss = isinstance(rule, InnerOptimizer) and rule.reads_loss
        self.logarithm = nn.Parameter(torch.zeros(()))

    def init(self, parameters: Parameters) -> State:
        return self.rule.init(parameters)

    def observe(self, losses: Tensor, state: State) -> State:
        return self.rule.observe(losses, state) if isinstance(self.rule, InnerOptimizer) else state

    def update(
        self, gradients: Parameters, state: State, parameters: Parameters, step: int
    ) -> tuple[Parameters, State]:
        moved, state = self.rule.update(gradients, state, parameters, step)
        factor: Tensor = (self.logarithm + _MORE.get()).exp()
        return {
            k: torch.lerp(p, moved[k], factor.to(p.device, p.dtype)) for k, p in parameters.items()
        }, state


@contextmanager
def rescaled(logarithm: float) -> Iterator[None]:
    """Within it, on this thread, the step sizes of every `TunedRate` are e^logarithm times their own."""
    token = _MORE.set(logarithm)
    try:
        yield
    finally:
        _MORE.reset(token)
