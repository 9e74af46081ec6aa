"""Tuned optimizer: what a learned optimizer is compared with, a rule made by hand with the best step size.

1. Learnable: one number, the step size of gradient descent, momentum, RMSprop or Adam.
2. Loss: that of the problem, summed along the way from a random start.
3. Optimize: by gradient, which is a difference of the losses at two step sizes.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from fphi.learnable.base import LearningAlgorithm
from fphi.learnable.optimizer.tuned_learner import TunedLearner
from fphi.methods.base import Setting, Usual
from fphi.methods.families.networks import schedule_named
from fphi.methods.families.problems import ProblemMethod, is_quadratic
from fphi.methods.table import method
from fphi.optimize import GradientDescent
from fphi.ranges import count, rate, share, weight
from fphi.within import adam, sgd
from fphi.within.adaptive import RMSprop
from fphi.within.optimizers import UpdateRule
from fphi.within.tuned_rate import TunedRate
from fphi.within.uncompiled import uncompiled

__all__ = ["RuleName", "TunedOptimizer"]

RuleName = Literal["sgd", "momentum", "nesterov", "rmsprop", "adam"]
_RULES: Mapping[RuleName, Callable[[float, float], UpdateRule]] = {
    "sgd": lambda lr, momentum: sgd(lr),
    "momentum": sgd,
    "nesterov": lambda lr, momentum: sgd(lr, momentum, nesterov=True),
    "rmsprop": lambda lr, momentum: RMSprop(lr),
    "adam": lambda lr, momentum: adam(lr),
}


@method("tuned-optimizer", paper="baseline")
@dataclass(frozen=True)
class TunedOptimizer(ProblemMethod):
    """Train a network from a random start by a rule made by hand, whose step size is learned across tasks.

    Args:
        rule: sgd, momentum, nesterov, rmsprop or adam.
        inner_lr: the step size to begin with; null: 1, with momentum 0.1, on quadratics 0.01 and 0.003;
            rmsprop and adam 0.03, on quadratics 0.1.
        momentum: of momentum and nesterov.
    """

    usual: ClassVar[Usual] = Usual(
        steps=100, meta_batch=8, paper="the baselines of Andrychowicz et al. 2016, tuned"
    )

    rule: RuleName = "adam"
    inner_lr: float | None = rate(None)
    momentum: float = share(0.9)
    unroll: int | None = count(None, 10_000)
    outer_lr: float = weight(0.1)

    @property
    def variant(self) -> str:
        return f"{self.title}, {self.rule}"

    def learner(self, setting: Setting) -> LearningAlgorithm:
        lr = self._usual_rate(is_quadratic(setting)) if self.inner_lr is None else self.inner_lr
        return self.trained_by(TunedRate(_RULES[self.rule](lr, self.momentum)), setting, TunedLearner)

    def left_open(self, setting: Setting) -> Mapping[str, float]:
        return {"inner_lr": self._usual_rate(is_quadratic(setting))}

    def idle(self, setting: Setting) -> Collection[str]:
        own = super().idle(setting)
        return own if self.rule in ("momentum", "nesterov") else (*own, "momentum")

    def _usual_rate(self, quadratic: bool) -> float:
        if self.rule in ("rmsprop", "adam"):
            return 0.1 if quadratic else 0.03
        if self.rule == "sgd":
            return 0.01 if quadratic else 1.0
        return 0.003 if quadratic else 0.1

    def optimizer(self, learner: LearningAlgorithm) -> GradientDescent:
        # Just beyond the best rate ways diverge, and slopes are of any size: without momentum, and with a
        # short memory, the next step is back and those after it are as long as before.
        outer = uncompiled(torch.optim.Adam)(learner.parameters(), self.outer_lr, betas=(0.0, 0.9))
        return GradientDescent(outer, schedule_named(self.schedule), clip_value=1.0)
