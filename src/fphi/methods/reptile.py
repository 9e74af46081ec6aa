"""Reptile: train on a task, then move the initial parameters towards where that led.

1. Learnable: the initial parameters φ = θ⁰.
2. Loss: the training loss on minibatches of the task; there is no query set in training.
3. Optimize: φ ← φ + ε mean(θ̃ - φ), ε falling to zero.
"""

from dataclasses import dataclass
from typing import Literal

import torch

from fphi.learnable import ReptileLearner
from fphi.learnable.base import LearningAlgorithm
from fphi.methods.registry import Method, NetworkName, Setting, adam_descent, build_network, method
from fphi.networks.batch_norm import Mode
from fphi.optimize import GradientDescent, linear_to_zero
from fphi.tasks.episodes import EpisodeShape
from fphi.within import adam, sgd

__all__ = ["Reptile"]


@method(
    "reptile",
    paper="Nichol, Achiam, Schulman: On First-Order Meta-Learning Algorithms, 2018",
    arxiv="1803.02999",
)
@dataclass(frozen=True)
class Reptile(Method):
    """Move φ towards the parameters that ordinary training on a task leads to.

    With ``inner="sgd"`` the step θ̃ - φ is α times the sum of the inner gradients, which ``outer="adam"``
    scales anew. The paper's own setting is ``inner="adam"``, ``inner_lr=1e-3``, ``outer="epsilon"`` and
    100,000 meta-steps. Here Adam's second moment starts anew in every task, where the authors' carries over:
    its first step then moves every coordinate by α, however small the gradient (after 400 meta-steps on
    Omniglot 71 % against 88).

    Args:
        inner: the inner optimizer, gradient descent or Adam with β₁ = 0.
        inner_lr: its learning rate.
        inner_steps: minibatches per training task.
        inner_batch: examples per minibatch in training.
        train_shots: examples of a class in a training task.
        test_steps: minibatches per test task.
        test_batch: examples per minibatch at test.
        outer: "epsilon" moves φ by ε (θ̃ - φ); "adam" takes (φ - θ̃)/α as a gradient for Adam.
        epsilon: the first step size ε towards θ̃; it falls to 0 in a line, as Adam's rate does.
        outer_lr: Adam's first learning rate for φ.
        network: the network that is adapted.
        norm: source of the batch-norm statistics.
    """

    inner: Literal["sgd", "adam"] = "sgd"
    inner_lr: float = 0.2
    inner_steps: int = 5
    inner_batch: int = 10
    train_shots: int = 10
    test_steps: int = 50
    test_batch: int = 5
    outer: Literal["adam", "epsilon"] = "adam"
    epsilon: float = 1.0
    outer_lr: float = 3e-3
    network: NetworkName = "conv4-pool"
    norm: Mode = "query-batch"

    def learner(self, setting: Setting) -> LearningAlgorithm:
        return ReptileLearner(
            build_network(self.network, setting, self.norm),
            sgd(self.inner_lr) if self.inner == "sgd" else adam(self.inner_lr, betas=(0.0, 0.999)),
            self.inner_steps,
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
        outer = torch.optim.SGD(learner.parameters(), lr=self.epsilon * self.inner_lr)
        return GradientDescent(outer, linear_to_zero())

    def train_shape(self, ways: int, shots: int) -> EpisodeShape:
        return EpisodeShape(ways, self.train_shots, 1)
