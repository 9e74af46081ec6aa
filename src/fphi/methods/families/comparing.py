"""What the systems that learn to compare have in common: an embedding, wide training tasks, Adam."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from fphi.errors import FphiError
from fphi.learnable import LearningAlgorithm
from fphi.methods.base import Auto, FewShotMethod, Setting
from fphi.methods.families.networks import ScheduleName, build_network, schedule_named
from fphi.networks.batch_norm import StepFree
from fphi.optimize import GradientDescent
from fphi.ranges import count, rate, weight
from fphi.tasks.episodes import TrainingTasks
from fphi.within.uncompiled import uncompiled

__all__ = ["Comparing", "ComparingEmbeddings", "require_classes"]


@dataclass(frozen=True)
class Comparing(FewShotMethod):
    """Settings of a system that learns to compare.

    Args:
        train_ways: classes of a training task, which may be more than at test. auto: 60 (siamese: 20,
            relation: as at test), or as many as the data have if these are fewer; null: as many as at test.
        train_queries: query examples of a class in a training task. auto: 5 (relation: the protocol's
            number), fewer where neither number was given and the data have fewer images; null: the
            protocol's number, for as many ways as at test.
        outer_lr: Adam's learning rate.
        schedule: course of the learning rate.
    """

    bound_to: ClassVar[tuple[Literal["ways", "shots"], ...]] = ()

    # What auto stands for; None: as at test, and the protocol's number.
    auto_ways: ClassVar[int | None] = 60
    auto_queries: ClassVar[int | None] = 5

    train_ways: int | Auto | None = count("auto", 10_000, least=0)
    train_queries: int | Auto | None = count("auto", 10_000, least=0)
    outer_lr: float = rate(1e-3)
    schedule: ScheduleName = "cosine"

    def optimizer(self, learner: LearningAlgorithm) -> GradientDescent:
        outer = uncompiled(torch.optim.Adam)(learner.parameters(), lr=self.outer_lr)
        return GradientDescent(outer, schedule_named(self.schedule))

    def train_tasks(self, ways: int, shots: int) -> TrainingTasks:
        wanted = self.auto_ways if self.train_ways == "auto" else self.train_ways
        queries = self.auto_queries if self.train_queries == "auto" else self.train_queries
        if wanted is not None and wanted < 2:
            raise FphiError(f"--train-ways is {wanted}, which leaves nothing to compare; ask for at least 2")
        if queries is not None and queries < 1:
            raise FphiError(f"--train-queries is {queries}, which leaves nothing to learn from; ask for 1")
        # Ways that were asked for are never lowered.
        return TrainingTasks(wanted, None, queries, at_most=self.train_ways == "auto" and wanted is not None)


@dataclass(frozen=True)
class ComparingEmbeddings(Comparing):
    """Settings of a system that compares the embeddings of any network.

    Args:
        network: the embedding network, one of conv4-pool, conv4-stride, conv4-stride-mean, conv5 (for larger
            images, with more filters), mlp, koch.
        norm: source of the batch-norm statistics; ``running`` makes answers inductive.
        weight_decay: how much of each weight (not of biases and scales) a step takes away, in units of the
            learning rate (AdamW).
    """

    network: str = "conv4-pool"
    norm: StepFree = "running"
    weight_decay: float = weight(0.0)

    def optimizer(self, learner: LearningAlgorithm) -> GradientDescent:
        if self.weight_decay == 0:
            return super().optimizer(learner)
        weights = [p for p in learner.parameters() if p.dim() > 1]
        others = [p for p in learner.parameters() if p.dim() <= 1]
        groups: list[dict[str, Any]] = [{"params": weights}, {"params": others, "weight_decay": 0.0}]
        outer = uncompiled(torch.optim.AdamW)(groups, lr=self.outer_lr, weight_decay=self.weight_decay)
        return GradientDescent(outer, schedule_named(self.schedule))

    def embedding(self, setting: Setting) -> nn.Module:
        """The embedding network for the tasks of ``setting``."""
        require_classes(self.title, setting)
        return build_network(self.network, setting, self.norm, head=False)


def require_classes(title: str, setting: Setting) -> None:
    """Raise an `FphiError` if the tasks are no classification."""
    if setting.ways is None:
        raise FphiError(f"{title} compares classes, and these tasks have none: choose maml")
