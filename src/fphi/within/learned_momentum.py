"""Gradient descent whose momentum is learned beside its step sizes."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from fphi.ranges import Range, checked
from fphi.within.optimizers import (
    LearnedRate,
    Parameters,
    RatePer,
    State,
    kept_where_fitting,
    least_divergent,
)

__all__ = ["LearnedMomentum", "learned_momentum"]


class LearnedMomentum(LearnedRate):
    """v ← μ v + g, θ ← θ - λ v, where both μ and λ are learned with the rest of φ; v is 0 before each task.

    With one μ and one λ for a tensor it takes the steps of ``fphi.sgd(λ, momentum=μ)`` to the last bit, and
    with μ = 0 those of ``fphi.sgd(λ)``. Neither number is bounded: as a rate, a momentum may become negative.

    Args:
        initial: the rate to begin with, or the bounds of a uniform draw.
        momentum: μ to begin with.
        per: what has a rate and a momentum of its own, see `LearnedRate`.
        nesterov: take the gradient's step ahead of the momentum's.
    """

    @checked(initial=Range(), momentum=Range(-1, 1))
    def __init__(
        self,
        initial: float | tuple[float, float] = 0.1,
        momentum: float = 0.0,
        per: RatePer = "all",
        nesterov: bool = False,
    ) -> None:
        super().__init__(initial, per)
        self.momentum, self.nesterov = momentum, nesterov
        self.momenta = nn.ParameterDict()

    def register(self, parameters: Mapping[str, Tensor]) -> None:
        super().register(parameters)
        momenta = {
            key: nn.Parameter(torch.full_like(rate, self.momentum)) for key, rate in self.rates.items()
        }
        self.momenta = kept_where_fitting(self.momenta, momenta)

    def most_curvature(self) -> float:
        pairs = zip(self.rates.values(), self.momenta.values(), strict=True)
        largest = [(r.max().item(), m.max().item()) for r, m in pairs if r.numel()]
        return min((least_divergent(rate, m, self.nesterov) for rate, m in largest), default=math.inf)

    def init(self, parameters: Parameters) -> State:
        return {"velocity": {name: torch.zeros_like(p) for name, p in parameters.items()}}

    def update(
        self, gradients: Parameters, state: State, parameters: Parameters, step: int
    ) -> tuple[Parameters, State]:
        # The rate first: it says what is wrong with a parameter that is not known.
        rates = {name: self._rate(name, step) for name in parameters}
        momenta: Parameters = {name: self.momenta[self._key(name)] for name in parameters}
        velocity = {k: momenta[k] * v + gradients[k] for k, v in state["velocity"].items()}
        ahead = velocity
        if self.nesterov:
            ahead = {k: gradients[k] + momenta[k] * v for k, v in velocity.items()}
        moved = {k: _stepped(p, rates[k], ahead[k]) for k, p in parameters.items()}
        return moved, {"velocity": velocity}


def _stepped(parameter: Tensor, rate: Tensor, along: Tensor) -> Tensor:
    if rate.dim():
        return parameter - rate * along
    stepped: Tensor = _OneRate.apply(parameter, rate, along)  # type: ignore[no-untyped-call]
    return stepped


class _OneRate(Function):
    """``parameter - rate * along`` with a single rounding, as ``Tensor.sub(…, alpha=…)`` has it."""

    @staticmethod
    def forward(ctx: Any, parameter: Tensor, rate: Tensor, along: Tensor) -> Tensor:
        ctx.save_for_backward(rate, along)
        return parameter.sub(along, alpha=float(rate))

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rate, along = ctx.saved_tensors
        return cotangent, -(cotangent * along).sum(), -rate * cotangent


def learned_momentum(
    initial: float | tuple[float, float] = 0.1,
    momentum: float = 0.0,
    per: RatePer = "all",
    nesterov: bool = False,
) -> LearnedMomentum:
    """Gradient descent whose step sizes and momentum are learned, see `LearnedMomentum`.

    >>> import fphi
    >>> rule = fphi.learned_momentum(0.1, momentum=0.5)
    >>> learner = fphi.GradientLearner(torch.nn.Linear(4, 5), rule, steps=3)
    >>> {name: round(p.item(), 3) for name, p in learner.optimizer.named_parameters()}
    {'rates.all': 0.1, 'momenta.all': 0.5}
    """
    return LearnedMomentum(initial, momentum, per, nesterov)
