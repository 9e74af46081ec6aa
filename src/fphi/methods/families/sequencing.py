"""What the systems that read a task as a sequence have in common: an embedding, and Adam."""

from dataclasses import dataclass

import torch
from torch import nn

from fphi.errors import FphiError
from fphi.learnable.base import LearningAlgorithm
from fphi.learnable.sequence.learner import Labels, SequenceLearner
from fphi.learnable.sequence.standardisation import OnlineStandardisation
from fphi.methods.base import Auto, FewShotMethod, Setting
from fphi.methods.families.networks import ScheduleName, build_network, schedule_named
from fphi.networks.batch_norm import StepFree
from fphi.optimize import GradientDescent
from fphi.ranges import count, number, rate, share
from fphi.tasks.episodes import TrainingTasks
from fphi.within.uncompiled import uncompiled

__all__ = ["Sequencing", "Streaming"]

_SHOTS = 4  # of a training stream


@dataclass(frozen=True)
class Sequencing(FewShotMethod):
    """Settings of a system that reads a task as a sequence.

    Args:
        outer_lr: Adam's learning rate.
        schedule: course of the learning rate.
        clip_norm: largest norm of the gradient; any if not given.
        network: the embedding network, one of conv4-pool, conv4-stride, conv4-stride-mean, conv5, mlp, koch;
            ``none`` reads the inputs themselves, flattened.
        norm: source of the batch-norm statistics; ``running`` and ``support`` make answers inductive.
        standardise: whether embeddings are standardised by what the sequence has shown so far (the
            papers' are not); see `OnlineStandardisation`.
        dropout: share of an embedding's features that is set to 0 in training, before they are read (the
            papers have none).
    """

    outer_lr: float = rate(1e-3)
    schedule: ScheduleName = "cosine"
    clip_norm: float | None = number(10.0, 0, 1e9, open=True)
    network: str = "conv4-pool"
    norm: StepFree = "running"
    standardise: bool = True
    dropout: float = share(0.0)

    def embedding(self, setting: Setting) -> tuple[nn.Module, int, int]:
        """The embedding network, the size of what it gives, and the ways.

        Raises:
            FphiError: the tasks are regression and have no ways.
        """
        if setting.ways is None:
            raise FphiError(f"{self.title} reads class labels, and these tasks have none: choose maml")
        plain = self.network == "none" and setting.network is None
        network = nn.Flatten() if plain else build_network(self.network, setting, self.norm, head=False)
        return network, setting.embedding_size(network), setting.ways

    def sequence(
        self, network: nn.Module, size: int, core: nn.Module, ways: int, labels: Labels
    ) -> SequenceLearner:
        """The learner of an embedding network, the size of what it gives, and a core."""
        standardise = OnlineStandardisation(size) if self.standardise else None
        return SequenceLearner(
            network, core, ways, labels=labels, standardise=standardise, dropout=self.dropout
        )

    def optimizer(self, learner: LearningAlgorithm) -> GradientDescent:
        outer = uncompiled(torch.optim.Adam)(learner.parameters(), lr=self.outer_lr)
        return GradientDescent(outer, schedule_named(self.schedule), clip_norm=self.clip_norm)


@dataclass(frozen=True)
class Streaming(Sequencing):
    """Settings of a system that learns from streams, in which a label comes one step late.

    Args:
        train_shots: support examples of a class in a training stream (MANN's paper: 9, which make ten
            presentations with one query). auto: 4, or as many as the data have if these are fewer.
    """

    # Strides cost less than conv4-pool, and a stream is long. From an MLP's features an LSTM stayed at chance
    # for 620 steps.
    network: str = "conv4-stride"
    outer_lr: float = rate(2e-3)
    train_shots: int | Auto = count("auto", 10_000)

    def train_tasks(self, ways: int, shots: int) -> TrainingTasks:
        auto = self.train_shots == "auto"
        wanted = _SHOTS if self.train_shots == "auto" else self.train_shots
        return TrainingTasks(shots=wanted, queries=1, order="stream", at_most=auto)
