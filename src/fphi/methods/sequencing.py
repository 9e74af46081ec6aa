"""What the systems that read a task as a sequence have in common: an embedding, and Adam."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from fphi.errors import FphiError
from fphi.learnable.base import LearningAlgorithm
from fphi.learnable.embedding import embedding_size
from fphi.methods.registry import Method, NetworkName, ScheduleName, Setting, build_network, schedule_named
from fphi.networks.batch_norm import Mode
from fphi.optimize import GradientDescent
from fphi.tasks.few_shot import EpisodeShape

__all__ = ["Sequencing", "paper_stream"]

_SHOTS = 9  # and one query: ten presentations of a class


@dataclass(frozen=True)
class Sequencing(Method):
    """Settings of a system that reads a task as a sequence.

    Args:
        outer_lr: Adam's learning rate.
        schedule: course of the learning rate.
        clip_norm: largest norm of the gradient; any if not given.
        network: the embedding network; ``none`` reads the inputs themselves, flattened.
        norm: source of the batch-norm statistics; ``running`` makes answers inductive.
    """

    outer_lr: float = 1e-3
    schedule: ScheduleName = "cosine"
    clip_norm: float | None = 10.0
    network: Literal[NetworkName, "none"] = "conv4-pool"
    norm: Mode = "running"

    def embedding(self, setting: Setting) -> tuple[nn.Module, int, int]:
        """The embedding network, the size of what it gives, and the ways.

        Raises:
            FphiError: the tasks are regression and have no ways.
        """
        if setting.ways is None:
            raise FphiError(f"{self.title} reads class labels, and these tasks have none: choose maml")
        plain = self.network == "none"
        network = nn.Flatten() if plain else build_network(self.network, setting, self.norm, head=False)  # type: ignore[arg-type]
        return network, embedding_size(network, setting.input_shape), setting.ways

    def optimizer(self, learner: LearningAlgorithm) -> GradientDescent:
        outer = torch.optim.Adam(learner.parameters(), lr=self.outer_lr)
        return GradientDescent(outer, schedule_named(self.schedule), clip_norm=self.clip_norm)


def paper_stream(ways: int, shots: int) -> EpisodeShape:
    """Ten presentations of each class, or more where the tasks of the test are longer."""
    return EpisodeShape(ways, max(shots, _SHOTS), 1)
