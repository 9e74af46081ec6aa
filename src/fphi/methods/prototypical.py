"""Prototypical networks: compare with the mean embedding of each class.

1. Learnable: an embedding network.
2. Loss: cross-entropy of the queries over minus their squared distances to the class means.
3. Optimize: by gradient; there is no inner loop.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from fphi.errors import FphiError
from fphi.learnable import PrototypicalLearner
from fphi.learnable.base import LearningAlgorithm
from fphi.methods.registry import (
    Method,
    NetworkName,
    ScheduleName,
    Setting,
    build_network,
    method,
    schedule_named,
)
from fphi.networks.batch_norm import Mode
from fphi.optimize import GradientDescent
from fphi.tasks.few_shot import EpisodeShape

__all__ = ["Prototypical"]


@method("prototypical", paper="Snell, Swersky, Zemel: Prototypical Networks, NIPS 2017", arxiv="1703.05175")
@dataclass(frozen=True)
class Prototypical(Method):
    """A class is the mean of its embedded examples; the nearest mean answers.

    Args:
        train_ways: classes of a training task: more than at test, as in the paper.
        train_queries: query examples of a class in a training task.
        outer_lr: Adam's learning rate.
        schedule: course of the learning rate.
        distance: squared Euclidean, or cosine.
        network: the embedding network.
        norm: source of the batch-norm statistics; ``running`` makes answers inductive.
    """

    bound_to: ClassVar[tuple[Literal["ways", "shots"], ...]] = ()

    train_ways: int = 60
    train_queries: int = 5
    outer_lr: float = 1e-3
    schedule: ScheduleName = "cosine"
    distance: Literal["euclidean", "cosine"] = "euclidean"
    network: NetworkName = "conv4-pool"
    norm: Mode = "running"

    def learner(self, setting: Setting) -> LearningAlgorithm:
        if setting.ways is None:
            raise FphiError("a prototypical network compares classes, and these tasks have none: choose maml")
        network = build_network(self.network, setting, self.norm, head=False)
        return PrototypicalLearner(network, distance=self.distance)

    def optimizer(self, learner: LearningAlgorithm) -> GradientDescent:
        outer = torch.optim.Adam(learner.parameters(), lr=self.outer_lr)
        return GradientDescent(outer, schedule_named(self.schedule))

    def train_shape(self, ways: int, shots: int) -> EpisodeShape:
        return EpisodeShape(self.train_ways, shots, self.train_queries)
