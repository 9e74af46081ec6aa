"""LSTM meta-learner: gradient descent is the cell of an LSTM; learn its gates and its first state.

1. Learnable: the gates' weights and the cell's first state θ⁰; steps θ ← f ∘ θ - i ∘ ∇l(θ).
2. Loss: the query loss after these steps.
3. Optimize: by gradient, losses and gradients within the task counting as constants.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from fphi.learnable import GradientLearner
from fphi.learnable.base import LearningAlgorithm
from fphi.methods.base import FewShotMethod, Setting, Usual
from fphi.methods.families.networks import Rate, ScheduleName, build_network, schedule_named
from fphi.methods.table import method
from fphi.networks.batch_norm import Mode
from fphi.optimize import GradientDescent
from fphi.ranges import count, number, rate
from fphi.within import LSTMMetaLearner
from fphi.within.uncompiled import uncompiled

__all__ = ["LSTMMetaLearnerMethod"]


@method(
    "lstm-meta-learner",
    paper="Ravi, Larochelle: Optimization as a Model for Few-Shot Learning, ICLR 2017",
)
@dataclass(frozen=True)
class LSTMMetaLearnerMethod(FewShotMethod):
    """Learn gates that say how much of each parameter is kept in a step, and how much of its gradient taken.

    The paper's networks normalise by the batch in meta-training, and at test by statistics of the support
    set; with ``norm="support"`` they do so by those of the support set in both.

    Args:
        stacked: whether a second cell gathers gradients, and the first takes what it gathered.
        inner_rate: where the input gates begin, the step size; null: 0.4, in regression 0.01. The paper's
            are 0.011.
        inner_steps: steps on the whole support set; the paper takes 12 at 1 shot and 8 at 5.
        hidden: units of the LSTM that reads gradients and losses.
        outer_lr: Adam's learning rate for φ.
        schedule: course of the outer learning rate.
        clip_norm: the largest norm of the meta-gradient.
        filters: of each layer of the networks named conv4.
        network: the network that is adapted, one of conv4-pool, conv4-stride, conv4-stride-mean, conv5, mlp,
            koch.
        norm: source of the batch-norm statistics.
        memory: "recomputed" keeps the activations of one inner step at a time.
    """

    usual: ClassVar[Usual] = Usual(
        steps=250,
        meta_batch=4,
        paper="75,000 steps of one task at 1 shot, 50,000 at 5: --steps 75000 --meta-batch 1 "
        "--inner-steps 12 --inner-rate 0.011 --outer-lr 0.001 --schedule constant",
        regression_steps=2000,
    )

    usual_inner_rate: ClassVar[Rate] = Rate(classification=0.4, regression=0.01)

    stacked: bool = False
    inner_rate: float | None = number(None, 0, 1, open=True, below=True)
    inner_steps: int = count(3, 10_000, least=0)
    hidden: int = count(20, 10_000)
    outer_lr: float = rate(3e-3)
    schedule: ScheduleName = "cosine"
    clip_norm: float | None = number(0.25, 0, 1e9, open=True)
    filters: int = count(32, 4096)
    network: str = "conv4-pool"
    norm: Mode = "support"
    memory: Literal["stored", "recomputed"] = "stored"

    @property
    def variant(self) -> str:
        return f"{self.title}, stacked" if self.stacked else self.title

    def learner(self, setting: Setting) -> LearningAlgorithm:
        first = self.usual_inner_rate.of(setting) if self.inner_rate is None else self.inner_rate
        return GradientLearner(
            build_network(self.network, setting, self.norm, filters=self.filters),
            LSTMMetaLearner(self.hidden, first, stacked=self.stacked),
            self.inner_steps,
            order=1,
            loss=setting.loss,
            memory=self.memory,
        )

    def idle(self, setting: Setting) -> Collection[str]:
        own, small = super().idle(setting), self.network.startswith("conv4") and len(setting.input_shape) == 3
        return own if small and setting.network is None else (*own, "filters")

    def optimizer(self, learner: LearningAlgorithm) -> GradientDescent:
        adam = uncompiled(torch.optim.Adam)(
            [p for p in learner.parameters() if p.requires_grad], lr=self.outer_lr
        )
        return GradientDescent(adam, schedule_named(self.schedule), clip_norm=self.clip_norm)
