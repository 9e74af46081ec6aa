"""Meta-SGD: learn the initial parameters, and the direction and size of the step.

1. Learnable: θ⁰ and a step size for every parameter, φ = (θ⁰, a); one step θ' = θ⁰ - a ∘ ∇l(θ⁰).
2. Loss: the query loss after that step.
3. Optimize: both by gradient.
"""

from dataclasses import dataclass
from typing import Literal

from fphi.learnable import GradientLearner
from fphi.learnable.base import LearningAlgorithm
from fphi.methods.registry import (
    Method,
    NetworkName,
    ScheduleName,
    Setting,
    adam_descent,
    build_network,
    method,
)
from fphi.networks.batch_norm import Mode
from fphi.optimize import GradientDescent
from fphi.within import learned_rate

__all__ = ["MetaSGD"]


@method("meta-sgd", paper="Li, Zhou, Chen, Li: Meta-SGD, 2017", arxiv="1707.09835")
@dataclass(frozen=True)
class MetaSGD(Method):
    """Learn initial parameters and a learning rate for each of them.

    Args:
        rate_low: lower bound of the initial rates, drawn uniformly.
        rate_high: upper bound of the initial rates.
        per: a rate for every parameter, or one for each tensor.
        inner_steps: steps in training and test; the paper takes one.
        outer_lr: Adam's learning rate for φ.
        schedule: course of the outer learning rate.
        clip_value: largest absolute value of a meta-gradient's entry; none by default.
        network: the network that is adapted.
        norm: source of the batch-norm statistics.
    """

    rate_low: float = 0.005
    rate_high: float = 0.1
    per: Literal["parameter", "tensor"] = "parameter"
    inner_steps: int = 1
    outer_lr: float = 1e-3
    schedule: ScheduleName = "cosine"
    clip_value: float | None = None
    network: NetworkName = "conv4-pool"
    norm: Mode = "query-batch"

    def learner(self, setting: Setting) -> LearningAlgorithm:
        return GradientLearner(
            build_network(self.network, setting, self.norm),
            learned_rate((self.rate_low, self.rate_high), self.per),
            self.inner_steps,
            order=2,
            loss=setting.loss,
        )

    def optimizer(self, learner: LearningAlgorithm) -> GradientDescent:
        return adam_descent(learner, self.outer_lr, self.schedule, self.clip_value)
