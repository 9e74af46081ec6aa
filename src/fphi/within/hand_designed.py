"""What learned rules are compared with: RMSprop, and any rule whose step size alone is learned."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn

from fphi.ranges import Range, checked
from fphi.within.optimizers import InnerOptimizer, Parameters, State, UpdateRule

__all__ = ["RMSprop", "TunedRate", "rescaled"]

_MORE: ContextVar[float] = ContextVar("_MORE", default=0.0)


class RMSprop(InnerOptimizer):
    """Gradients over the root of a running mean of their squares, equal to ``torch.optim.RMSprop``.

    Args:
        lr: step size.
        alpha: decay of the running mean.
        eps: added to the root.
    """

    @checked(alpha=Range(0, 1, below=True))
    def __init__(self, lr: float, alpha: float = 0.99, eps: float = 1e-8) -> None:
        super().__init__()
        self.lr, self.alpha, self.eps = lr, alpha, eps

    def init(self, parameters: Parameters) -> State:
        return {"square": {name: torch.zeros_like(p) for name, p in parameters.items()}}

    def update(
        self, gradients: Parameters, state: State, parameters: Parameters, step: int
    ) -> tuple[Parameters, State]:
        share = 1 - self.alpha
        square = {k: self.alpha * v + share * gradients[k].square() for k, v in state["square"].items()}
        # As in Adam: the root has no finite derivative at 0.
        root = {k: torch.where(v > 0, v, 1.0).sqrt() * (v > 0) for k, v in square.items()}
        moved = {k: p - self.lr * gradients[k] / (root[k] + self.eps) for k, p in parameters.items()}
        return moved, {"square": square}


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
        return {k: p + factor * (moved[k] - p) for k, p in parameters.items()}, state


@contextmanager
def rescaled(logarithm: float) -> Iterator[None]:
    """Within it, on this thread, the step sizes of every `TunedRate` are e^logarithm times their own."""
    token = _MORE.set(logarithm)
    try:
        yield
    finally:
        _MORE.reset(token)
