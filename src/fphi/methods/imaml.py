"""Implicit MAML: only where the inner loop ends counts, not how it came there.

1. Learnable: the initial parameters φ = θ⁰, which the adapted ones are held at: θ* minimises
   l_S(θ) + λ/2 ‖θ - φ‖².
2. Loss: the query loss at θ*.
3. Optimize: by gradient, of the implicit function θ*(φ).
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from fphi.learnable import ImplicitLearner
from fphi.learnable.base import LearningAlgorithm
from fphi.methods.base import FewShotMethod, Setting, Usual
from fphi.methods.families.networks import Rate, ScheduleName, adam_descent, build_network
from fphi.methods.table import method
from fphi.networks.batch_norm import StepFree
from fphi.optimize import GradientDescent
from fphi.ranges import count, number, rate
from fphi.within import sgd
from fphi.within.implicit import conjugate_gradient

__all__ = ["IMAML"]


@method(
    "imaml",
    paper="Rajeswaran, Finn, Kakade, Levine: Meta-Learning with Implicit Gradients, NeurIPS 2019",
    arxiv="1909.04630",
)
@dataclass(frozen=True)
class IMAML(FewShotMethod):
    """MAML with many inner steps and the memory of one: they are not differentiated through.

    The inner loop ends near a minimum, close to the learned parameters. There the meta-gradient solves a
    system of linear equations, which takes a few products with the Hessian. Training and test have the same
    inner loop, where the authors' code takes λ into its last step of training alone.

    Args:
        strength: λ, how much the adapted parameters are held at the learned ones (the paper's 2.0 holds them
            tighter than its code, whose steps are free: after 15 meta-steps 68 % against 86); below 2 over
            the inner learning rate, from where on steps grow without end.
        inner_lr: step size of the inner loop; null: 0.1, in regression 0.01.
        inner_steps: gradient steps on the support set in training; too few of them bias the gradient.
        test_steps: gradient steps at test.
        solver_steps: steps of the conjugate gradient.
        outer_lr: Adam's learning rate for φ.
        schedule: course of the outer learning rate.
        clip_value: largest absolute value of a meta-gradient's entry; none by default.
        network: the network that is adapted, one of conv4-pool, conv4-stride, conv4-stride-mean, conv5, mlp,
            koch.
        norm: source of the batch-norm statistics.
    """

    usual: ClassVar[Usual] = Usual(
        steps=200,
        meta_batch=8,
        paper="20,000 steps of 32 tasks, at 20 ways with 25 inner steps: --steps 20000 --meta-batch 32 "
        "--strength 2",
        regression_steps=1500,
    )
    usual_inner_lr: ClassVar[Rate] = Rate(classification=0.1, regression=0.01)

    strength: float = number(0.5, 0, 1e6, open=True)
    inner_lr: float | None = rate(None)
    inner_steps: int = count(16, 10_000, least=0)
    test_steps: int = count(16, 10_000, least=0)
    solver_steps: int = count(5, 10_000)
    outer_lr: float = rate(1e-3)
    schedule: ScheduleName = "cosine"
    clip_value: float | None = number(None, 0, 1e9, open=True)
    network: str = "conv4-pool"
    norm: StepFree = "query-batch"

    def learner(self, setting: Setting) -> LearningAlgorithm:
        return ImplicitLearner(
            build_network(self.network, setting, self.norm),
            sgd(self.usual_inner_lr.of(setting) if self.inner_lr is None else self.inner_lr),
            self.inner_steps,
            strength=self.strength,
            inverse=partial(conjugate_gradient, steps=self.solver_steps, tasks=True),
            loss=setting.loss,
            test_steps=self.test_steps,
        )

    def optimizer(self, learner: LearningAlgorithm) -> GradientDescent:
        return adam_descent(learner, self.outer_lr, self.schedule, self.clip_value)
