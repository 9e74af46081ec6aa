"""MAML: learn the initial parameters from which a few gradient steps solve a task.

1. Learnable: the initial parameters φ = θ⁰ of a network.
2. Loss: the query loss after the inner steps, averaged over tasks.
3. Optimize: by gradient, through the inner steps (second derivatives).
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from fphi.learnable import GradientLearner
from fphi.learnable.base import LearningAlgorithm
from fphi.methods.base import Setting, Usual
from fphi.methods.families.networks import Rate, ScheduleName, adam_descent, build_network
from fphi.methods.families.stages import Staged
from fphi.methods.table import method
from fphi.networks.batch_norm import Mode
from fphi.optimize import GradientDescent
from fphi.ranges import count, number, rate
from fphi.within import UpdateRule, learned_rate, sgd

__all__ = ["MAML"]


@method("maml", paper="Finn, Abbeel, Levine: Model-Agnostic Meta-Learning, ICML 2017", arxiv="1703.03400")
@dataclass(frozen=True)
class MAML(Staged):
    """Learn initial parameters from which a few gradient steps solve a task.

    Args:
        inner_lr: step size of the inner loop, on a task's mean loss; null: 0.4 (fomaml, anil, nil, maml++:
            0.1), in regression 0.01.
        inner_steps: gradient steps on the support set in training.
        test_steps: gradient steps at test.
        outer_lr: Adam's learning rate for φ.
        schedule: course of the outer learning rate.
        clip_value: largest absolute value of a meta-gradient's entry; none by default.
        network: the network that is adapted, one of conv4-pool, conv4-stride, conv4-stride-mean, conv5, mlp,
            koch.
        norm: source of the batch-norm statistics.
        memory: "recomputed" bounds the memory of many inner steps, for about half as much time again.
        learned_rates: whether the inner learning rate is learned too, from ``inner_lr`` on: "all" learns one
            number, "tensor" one for each tensor, "tensor+step" one for each tensor in each inner step.
    """

    usual: ClassVar[Usual] = Usual(
        steps=450,
        meta_batch=16,
        paper="60,000 steps of 32 tasks, at 20 ways of 16: --steps 60000 --meta-batch 32",
        regression_steps=4000,
    )
    order: ClassVar[Literal[1, 2]] = 2
    adapts: ClassVar[Literal["all", "head"]] = "all"

    # Inner steps of 0.4 are for a cross-entropy: on sine waves they diverge.
    usual_inner_lr: ClassVar[Rate] = Rate(classification=0.4, regression=0.01)

    inner_lr: float | None = rate(None)
    inner_steps: int = count(1, 10_000, least=0)
    test_steps: int = count(3, 10_000, least=0)
    outer_lr: float = rate(1e-3)
    schedule: ScheduleName = "cosine"
    clip_value: float | None = number(None, 0, 1e9, open=True)
    network: str = "conv4-pool"
    norm: Mode = "query-batch"
    memory: Literal["stored", "recomputed"] = "stored"
    learned_rates: Literal["none", "all", "tensor", "tensor+step"] = "none"

    def learner(self, setting: Setting) -> LearningAlgorithm:
        return self.gradient_learner(setting, GradientLearner, self.adapts)

    def gradient_learner(
        self, setting: Setting, kind: type[GradientLearner], adapts: Literal["all", "head"]
    ) -> GradientLearner:
        """A learner of a ``kind`` with these options."""
        return kind(
            build_network(self.network, setting, self.norm),
            self.update_rule(setting),
            self.inner_steps,
            order=self.order,
            loss=setting.loss,
            adapts=adapts,
            test_steps=self.test_steps,
            memory=self.memory,
            first_order_until=self.first_order,
            step_weights=self.step_weights,
        )

    def update_rule(self, setting: Setting) -> UpdateRule:
        """The optimizer of the inner loop."""
        rate = self.usual_inner_lr.of(setting) if self.inner_lr is None else self.inner_lr
        if self.learned_rates == "none":
            return sgd(rate)
        steps = max(1, self.inner_steps) if self.learned_rates == "tensor+step" else None
        return learned_rate(rate, "all" if self.learned_rates == "all" else "tensor", steps=steps)

    def optimizer(self, learner: LearningAlgorithm) -> GradientDescent:
        return adam_descent(learner, self.outer_lr, self.schedule, self.clip_value)
