"""Reptile: train on a task, then move the initial parameters towards where that led.

1. Learnable: the initial parameters φ = θ⁰.
2. Loss: the training loss on minibatches of the task; there is no query set in training.
3. Optimize: φ ← φ + ε mean(θ̃ - φ), ε falling to zero.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from fphi.learnable import ReptileLearner
from fphi.learnable.base import LearningAlgorithm
from fphi.methods.base import Auto, FewShotMethod, Setting, Usual
from fphi.methods.families.networks import Rate, adam_descent, build_network
from fphi.methods.table import method
from fphi.networks.batch_norm import Mode
from fphi.optimize import GradientDescent, linear_to_zero
from fphi.ranges import count, rate
from fphi.tasks.episodes import TrainingTasks
from fphi.within import adam, sgd
from fphi.within.uncompiled import uncompiled

__all__ = ["Reptile"]

_SHOTS = 10  # of a training task


@method(
    "reptile",
    paper="Nichol, Achiam, Schulman: On First-Order Meta-Learning Algorithms, 2018",
    arxiv="1803.02999",
)
@dataclass(frozen=True)
class Reptile(FewShotMethod):
    """Move φ towards the parameters that ordinary training on a task leads to.

    With ``inner="sgd"`` the step θ̃ - φ is α times the sum of the inner gradients, which ``outer="adam"``
    scales anew. The paper's own setting is ``inner="adam"``, ``inner_lr=1e-3``, ``outer="epsilon"`` and
    100,000 meta-steps. Here Adam's second moment starts anew in every task, where the authors' carries over:
    its first step then moves every coordinate by α, however small the gradient (after 400 meta-steps on
    Omniglot 71 % against 88).

    Args:
        inner: the inner optimizer, gradient descent or Adam with β₁ = 0.
        inner_lr: its learning rate; null: 0.2, in regression 0.02.
        inner_steps: minibatches per training task.
        skipped: inner gradients that are left out of the sum, from the first on: with ``inner_steps=2``, 1
            leaves the second alone, which is FOMAML on minibatches.
        inner_batch: examples per minibatch in training.
        train_shots: examples of a class in a training task. auto: 10, or as many as the data have if
            these are fewer.
        test_steps: minibatches per test task.
        test_batch: examples per minibatch at test.
        outer: "epsilon" moves φ by ε (θ̃ - φ); "adam" takes (φ - θ̃)/α as a gradient for Adam.
        epsilon: the first step size ε towards θ̃; it falls to 0 in a line, as Adam's rate does.
        outer_lr: Adam's first learning rate for φ.
        network: the network that is adapted, one of conv4-pool, conv4-stride, conv4-stride-mean, conv5, mlp,
            koch.
        norm: source of the batch-norm statistics.
    """

    usual: ClassVar[Usual] = Usual(
        steps=150,
        meta_batch=6,
        paper="100,000 steps of 5 tasks with Adam inside: --steps 100000 --meta-batch 5 --inner adam "
        "--inner-lr 0.001 --outer epsilon",
        regression_steps=4000,
    )

    usual_inner_lr: ClassVar[Rate] = Rate(classification=0.2, regression=0.02)

    inner: Literal["sgd", "adam"] = "sgd"
    inner_lr: float | None = rate(None)
    inner_steps: int = count(5, 10_000)
    skipped: int = count(0, 10_000, least=0)
    inner_batch: int = count(10)
    train_shots: int | Auto = count("auto", 10_000)
    test_steps: int = count(50, 10_000, least=0)
    test_batch: int = count(5)
    outer: Literal["adam", "epsilon"] = "adam"
    epsilon: float = rate(1.0)
    outer_lr: float = rate(3e-3)
    network: str = "conv4-pool"
    norm: Mode = "query-batch"

    def learner(self, setting: Setting) -> LearningAlgorithm:
        rate = self.usual_inner_lr.of(setting) if self.inner_lr is None else self.inner_lr
        return ReptileLearner(
            build_network(self.network, setting, self.norm),
            sgd(rate) if self.inner == "sgd" else adam(rate, betas=(0.0, 0.999)),
            self.inner_steps,
            skipped=self.skipped,
            order=1,
            loss=setting.loss,
            test_steps=self.test_steps,
            minibatch=self.inner_batch,
            test_minibatch=self.test_batch,
        )

    def optimizer(self, learner: LearningAlgorithm) -> GradientDescent:
        if self.outer == "adam":
            return adam_descent(learner, self.outer_lr, "linear", clip_value=None)
        # The learner's gradient is (φ - θ̃)/α.
        assert isinstance(learner, ReptileLearner)
        outer = uncompiled(torch.optim.SGD)(learner.parameters(), lr=self.epsilon * learner.inner_rate)
        return GradientDescent(outer, linear_to_zero())

    def idle(self, setting: Setting) -> Collection[str]:
        return (*super().idle(setting), "epsilon" if self.outer == "adam" else "outer_lr")

    def train_tasks(self, ways: int, shots: int) -> TrainingTasks:
        # Minibatches take the same rows in every task: class by class, a minibatch would hold each label as
        # often in all of them, and the head would learn to prefer one.
        auto = self.train_shots == "auto"
        wanted = _SHOTS if self.train_shots == "auto" else self.train_shots
        return TrainingTasks(shots=wanted, queries=1, order="shuffled", at_most=auto)
