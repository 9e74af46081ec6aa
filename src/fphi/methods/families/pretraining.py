"""What the baselines of meta-learning have in common: pre-training without episodes, and ways to answer."""

from abc import abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from fphi.errors import FphiError
from fphi.learnable import LearningAlgorithm, Pretext, PretrainedLearner
from fphi.learnable.comparison.similarity import Distance
from fphi.learnable.initialization.pretrained import Adapt
from fphi.methods.base import Auto, FewShotMethod, Setting
from fphi.methods.families.networks import Rate, ScheduleName, build_network, schedule_named
from fphi.networks.batch_norm import StepFree
from fphi.optimize import GradientDescent
from fphi.ranges import count, number, rate, weight
from fphi.tasks import Minibatches
from fphi.within import adam, sgd
from fphi.within.uncompiled import uncompiled

__all__ = ["Pretraining"]

# Rates and steps of training on a support set.
_RATES: dict[Adapt, Rate] = {
    "centroids": Rate(0.0, 0.0),
    "head": Rate(classification=0.05, regression=0.01),
    "all": Rate(classification=0.01, regression=0.01),
}
_STEPS: dict[Adapt, int] = {"centroids": 0, "head": 50, "all": 20}


@dataclass(frozen=True)
class Pretraining(FewShotMethod):
    """Settings of pre-training on all training examples at once, and of learning a new task afterwards.

    A meta-step trains on a minibatch, or on several with ``--meta-batch``. As many examples as ``maml`` sees
    are steps times its meta-batch times the examples of its tasks: 160 images a step are 16 tasks of 5 ways,
    1 shot and 1 query.

    Args:
        adapt: how a new task is answered. "centroids": by the nearest class mean of the features; "head": a
            new last layer is trained on the support set; "all": the whole network is. auto: centroids, in
            regression all. A run can be tested in each of these ways.
        distance: of a feature and a class mean.
        inner: the optimizer of training on a support set.
        inner_lr: its learning rate; null: 0.05 for the head, 0.01 for all and in regression.
        test_steps: its steps, each on the whole support set; null: 50 for the head, 20 for all.
        batch_size: images of a minibatch.
        outer_lr: Adam's learning rate in pre-training.
        schedule: its course.
        weight_decay: how much of each weight (not of biases and scales) a step of pre-training takes away, in
            units of the learning rate (AdamW).
        network: the network of the features, one of conv4-pool, conv4-stride, conv4-stride-mean, conv5, mlp,
            koch.
        norm: source of the batch-norm statistics; ``running`` makes answers inductive.
    """

    bound_to: ClassVar[tuple[Literal["ways", "shots"], ...]] = ()

    adapt: Adapt | Auto = "auto"
    distance: Distance = "cosine"
    inner: Literal["sgd", "adam"] = "sgd"
    inner_lr: float | None = rate(None)
    test_steps: int | None = count(None, 10_000, least=0)
    batch_size: int = number(160, 2, 100_000)
    outer_lr: float = rate(1e-3)
    schedule: ScheduleName = "cosine"
    weight_decay: float = weight(0.0)
    network: str = "conv4-pool"
    norm: StepFree = "running"

    @abstractmethod
    def pretext(self, setting: Setting, width: int) -> Pretext:
        """What features of this width are learned by."""

    def learner(self, setting: Setting) -> LearningAlgorithm:
        network = build_network(self.network, setting, self.norm, head=False)
        if self.adapt == "centroids" and setting.ways is None:
            raise FphiError("--adapt centroids compares classes, and these tasks have none: choose all")
        adapt = self._adapt(setting)
        rate = _RATES[adapt].of(setting) if self.inner_lr is None else self.inner_lr
        return PretrainedLearner(
            network,
            self.pretext(setting, setting.embedding_size(network)),
            adapt=adapt,
            optimizer=sgd(rate) if self.inner == "sgd" else adam(rate),
            steps=_STEPS[adapt] if self.test_steps is None else self.test_steps,
            distance=self.distance,
            loss=setting.loss,
        )

    def optimizer(self, learner: LearningAlgorithm) -> GradientDescent:
        groups: list[dict[str, Any]] = [
            {"params": [p for p in learner.parameters() if p.dim() > 1]},
            {"params": [p for p in learner.parameters() if p.dim() <= 1], "weight_decay": 0.0},
        ]
        # Without decay this is Adam.
        outer = uncompiled(torch.optim.AdamW)(groups, lr=self.outer_lr, weight_decay=self.weight_decay)
        return GradientDescent(outer, schedule_named(self.schedule))

    def left_open(self, setting: Setting) -> Mapping[str, int | float | str]:
        adapt = self._adapt(setting)
        return {"adapt": adapt, "inner_lr": _RATES[adapt].of(setting), "test_steps": _STEPS[adapt]}

    def idle(self, setting: Setting) -> Collection[str]:
        compares = self._adapt(setting) == "centroids"
        return (*super().idle(setting), *(("inner", "inner_lr", "test_steps") if compares else ("distance",)))

    def train_tasks(self, ways: int, shots: int) -> Minibatches:
        return Minibatches(size=self.batch_size)

    def _adapt(self, setting: Setting) -> Adapt:
        if self.adapt == "auto":
            return "all" if setting.ways is None else "centroids"
        return self.adapt
