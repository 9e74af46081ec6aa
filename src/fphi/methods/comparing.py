"""What the systems that learn to compare have in common: an embedding, wide training tasks, Adam."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from fphi.errors import FphiError
from fphi.learnable import LearningAlgorithm
from fphi.methods.registry import Method, NetworkName, ScheduleName, Setting, build_network, schedule_named
from fphi.networks.batch_norm import StepFree
from fphi.optimize import GradientDescent
from fphi.tasks.episodes import EpisodeShape

__all__ = ["Comparing", "ComparingEmbeddings", "require_classes"]


@dataclass(frozen=True)
class Comparing(Method):
    """Settings of a system that learns to compare.

    Args:
        train_ways: classes of a training task, which may be more than at test; as many as at test if not
            given.
        train_queries: query examples of a class in a training task; if neither this nor train_ways is given,
            training tasks are the protocol's.
        outer_lr: Adam's learning rate.
        schedule: course of the learning rate.
    """

    bound_to: ClassVar[tuple[Literal["ways", "shots"], ...]] = ()

    train_ways: int | None = 60
    train_queries: int | None = 5
    outer_lr: float = 1e-3
    schedule: ScheduleName = "cosine"

    def optimizer(self, learner: LearningAlgorithm) -> GradientDescent:
        outer = torch.optim.Adam(learner.parameters(), lr=self.outer_lr)
        return GradientDescent(outer, schedule_named(self.schedule))

    def train_shape(self, ways: int, shots: int) -> EpisodeShape | None:
        if self.train_queries is None and self.train_ways in (None, ways):
            return None
        ways = ways if self.train_ways is None else self.train_ways
        if ways < 2:
            raise FphiError(f"--train-ways is {ways}, which leaves nothing to compare; ask for at least 2")
        if self.train_queries is None:
            raise FphiError(
                f"--train-ways {ways} needs --train-queries too; null for both gives the protocol's "
                "training tasks"
            )
        return EpisodeShape(ways, shots, self.train_queries)


@dataclass(frozen=True)
class ComparingEmbeddings(Comparing):
    """Settings of a system that compares the embeddings of any network.

    Args:
        network: the embedding network; ``conv5`` suits larger images, and has more filters.
        norm: source of the batch-norm statistics; ``running`` makes answers inductive.
        weight_decay: how much of each weight (not of biases and scales) a step takes away, in units of the
            learning rate (AdamW).
    """

    network: NetworkName = "conv4-pool"
    norm: StepFree = "running"
    weight_decay: float = 0.0

    def optimizer(self, learner: LearningAlgorithm) -> GradientDescent:
        if not self.weight_decay >= 0:
            raise FphiError(f"--weight-decay is {self.weight_decay}; it must be at least 0")
        if self.weight_decay == 0:
            return super().optimizer(learner)
        weights = [p for p in learner.parameters() if p.dim() > 1]
        others = [p for p in learner.parameters() if p.dim() <= 1]
        groups: list[dict[str, Any]] = [{"params": weights}, {"params": others, "weight_decay": 0.0}]
        outer = torch.optim.AdamW(groups, lr=self.outer_lr, weight_decay=self.weight_decay)
        return GradientDescent(outer, schedule_named(self.schedule))

    def embedding(self, setting: Setting) -> nn.Module:
        """The embedding network for the tasks of ``setting``."""
        require_classes(self.title, setting)
        return build_network(self.network, setting, self.norm, head=False)


def require_classes(title: str, setting: Setting) -> None:
    """Raise an `FphiError` if the tasks are no classification."""
    if setting.ways is None:
        raise FphiError(f"{title} compares classes, and these tasks have none: choose maml")
