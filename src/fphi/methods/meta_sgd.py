"""Meta-SGD: learn the initial parameters, and the direction and size of the step.

1. Learnable: θ⁰ and a step size for every parameter, φ = (θ⁰, a); one step θ' = θ⁰ - a ∘ ∇l(θ⁰).
2. Loss: the query loss after that step.
3. Optimize: both by gradient.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from fphi.errors import FphiError
from fphi.learnable import GradientLearner
from fphi.learnable.base import LearningAlgorithm
from fphi.methods.base import Setting, Usual
from fphi.methods.families.networks import Rate, ScheduleName, adam_descent, build_network
from fphi.methods.families.stages import Staged
from fphi.methods.table import method
from fphi.networks.batch_norm import Mode
from fphi.optimize import GradientDescent
from fphi.ranges import count, number, rate
from fphi.within import learned_rate

__all__ = ["MetaSGD"]


@method("meta-sgd", paper="Li, Zhou, Chen, Li: Meta-SGD, 2017", arxiv="1707.09835")
@dataclass(frozen=True)
class MetaSGD(Staged):
    """Learn initial parameters and a learning rate for each of them.

    Args:
        rate_low: lower bound of the initial rates, drawn uniformly; null: 0.005, in regression 0.0005.
        rate_high: upper bound of the initial rates; null: 0.1, in regression 0.01.
        per: a rate for every parameter, or one for each tensor.
        rates_by_step: whether each inner step has rates of its own.
        inner_steps: steps in training and test; the paper takes one.
        outer_lr: Adam's learning rate for φ.
        schedule: course of the outer learning rate.
        clip_value: largest absolute value of a meta-gradient's entry; none by default.
        network: the network that is adapted, one of conv4-pool, conv4-stride, conv4-stride-mean, conv5, mlp,
            koch.
        norm: source of the batch-norm statistics.
    """

    usual: ClassVar[Usual] = Usual(
        steps=450,
        meta_batch=16,
        paper="as MAML's, 60,000 steps of 32 tasks: --steps 60000 --meta-batch 32",
        regression_steps=4000,
    )

    usual_rate_low: ClassVar[Rate] = Rate(classification=0.005, regression=0.0005)
    usual_rate_high: ClassVar[Rate] = Rate(classification=0.1, regression=0.01)

    rate_low: float | None = number(None, -1000, 1000)
    rate_high: float | None = number(None, -1000, 1000)
    per: Literal["parameter", "tensor"] = "parameter"
    rates_by_step: bool = False
    inner_steps: int = count(1, 10_000, least=0)
    outer_lr: float = rate(1e-3)
    schedule: ScheduleName = "cosine"
    clip_value: float | None = number(None, 0, 1e9, open=True)
    network: str = "conv4-pool"
    norm: Mode = "query-batch"

    def __post_init__(self) -> None:
        """Refuse rates of which the lowest is above the highest."""
        super().__post_init__()
        low, high = self.rate_low, self.rate_high
        if low is not None and high is not None and low > high:
            raise FphiError(f"the lowest first rate is {low} and the highest {high}; give rate_low the lower")

    def learner(self, setting: Setting) -> LearningAlgorithm:
        low = self.usual_rate_low.of(setting) if self.rate_low is None else self.rate_low
        high = self.usual_rate_high.of(setting) if self.rate_high is None else self.rate_high
        return GradientLearner(
            build_network(self.network, setting, self.norm),
            learned_rate(
                (low, high), self.per, steps=max(1, self.inner_steps) if self.rates_by_step else None
            ),
            self.inner_steps,
            order=2,
            loss=setting.loss,
            first_order_until=self.first_order,
            step_weights=self.step_weights,
        )

    def optimizer(self, learner: LearningAlgorithm) -> GradientDescent:
        return adam_descent(learner, self.outer_lr, self.schedule, self.clip_value)
