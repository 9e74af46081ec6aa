"""Learned momentum: learn the initial parameters, the step sizes and how much of a step goes on in the next.

1. Learnable: θ⁰, rates λ and momenta μ, φ = (θ⁰, λ, μ); steps v ← μ ∘ v + ∇l(θ), θ ← θ - λ ∘ v.
2. Loss: the query loss after these steps.
3. Optimize: all by gradient, through the steps.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from fphi.learnable import GradientLearner
from fphi.learnable.base import LearningAlgorithm
from fphi.methods.base import FewShotMethod, Setting, Usual
from fphi.methods.families.networks import Rate, ScheduleName, adam_descent, build_network
from fphi.methods.table import method
from fphi.networks.batch_norm import Mode
from fphi.optimize import GradientDescent
from fphi.ranges import count, number, rate
from fphi.within import learned_momentum

__all__ = ["LearnedMomentumMethod"]


@method(
    "learned-momentum",
    paper="Polyak: Some methods of speeding up the convergence of iteration methods, 1964; here learned",
)
@dataclass(frozen=True)
class LearnedMomentumMethod(FewShotMethod):
    """Learn initial parameters, and the rates and momenta of the steps from them.

    Args:
        inner_lr: where the rates begin; null: 0.1, in regression 0.005.
        momentum: where the momenta begin; 0: as plain gradient descent.
        per: what has a rate and a momentum of its own: every parameter, every tensor, or only all of them.
        nesterov: whether the gradient's step is taken ahead of the momentum's.
        inner_steps: steps in training and test.
        outer_lr: Adam's learning rate for φ.
        schedule: course of the outer learning rate.
        clip_value: largest absolute value of a meta-gradient's entry; none by default.
        network: the network that is adapted, one of conv4-pool, conv4-stride, conv4-stride-mean, conv5, mlp,
            koch.
        norm: source of the batch-norm statistics.
    """

    usual: ClassVar[Usual] = Usual(
        steps=300,
        meta_batch=12,
        paper="there is none; as MAML's, 60,000 steps of 32 tasks: --steps 60000 --meta-batch 32",
        regression_steps=3000,
    )

    usual_inner_lr: ClassVar[Rate] = Rate(classification=0.1, regression=0.005)

    inner_lr: float | None = rate(None)
    momentum: float = number(0.0, -1, 1)
    per: Literal["parameter", "tensor", "all"] = "tensor"
    nesterov: bool = False
    inner_steps: int = count(3, 10_000, least=0)
    outer_lr: float = rate(1e-3)
    schedule: ScheduleName = "cosine"
    clip_value: float | None = number(None, 0, 1e9, open=True)
    network: str = "conv4-pool"
    norm: Mode = "query-batch"

    def learner(self, setting: Setting) -> LearningAlgorithm:
        first = self.usual_inner_lr.of(setting) if self.inner_lr is None else self.inner_lr
        return GradientLearner(
            build_network(self.network, setting, self.norm),
            learned_momentum(first, self.momentum, self.per, self.nesterov),
            self.inner_steps,
            loss=setting.loss,
        )

    def optimizer(self, learner: LearningAlgorithm) -> GradientDescent:
        return adam_descent(learner, self.outer_lr, self.schedule, self.clip_value)
