"""Generation: the support set goes in, and the weights of a classifier come out."""

import copy
from abc import abstractmethod
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.learnable.base import Loss, each_query_alone, over_network
from fphi.learnable.comparison.classes import OfEqualWays
from fphi.learnable.embedding import EmbeddingLearner
from fphi.networks.batch_norm import network_pass
from fphi.ranges import checked
from fphi.tasks.types import Examples
from fphi.within.task_map import Batching

__all__ = ["GeneratedModel", "GeneratingLearner", "classify"]


def classify(features: Tensor, weights: Tensor) -> Tensor:
    """Logits ``[B, Q, ways]`` of ``features: [B, Q, d]``.

    Args:
        features: of the examples.
        weights: ``[B, ways, d]``, or ``[B, ways, d + 1]`` with a bias at the end of each row.

    Raises:
        FphiError: a row is of another length.
    """
    width, given = features.shape[-1], weights.shape[-1]
    if given not in (width, width + 1):
        raise FphiError(
            f"a class has {given} generated weights, and an embedding {width} values; build the decoder with "
            f"{width} outputs, or with {width + 1} for a bias"
        )
    return features @ weights[..., :width].mT + weights[..., width:].sum(-1).unsqueeze(-2)


class GeneratingLearner(OfEqualWays, EmbeddingLearner):
    """Outputs the weights of a linear classifier over embeddings; a subclass defines `generate`.

    Args:
        network: ``[n, *input]`` to embeddings ``[n, d]``, or to feature maps, which are flattened.
        normalise: whether embeddings are scaled to length 1.
        loss: scalar loss of one task from logits and labels.
        batching: ``"auto"``, ``"vmap"`` or ``"loop"``, see `TaskMap`.
    """

    reads_labels: ClassVar[bool] = True

    @checked()
    def __init__(
        self,
        network: nn.Module,
        *,
        normalise: bool = False,
        loss: Loss = F.cross_entropy,
        batching: Batching = "auto",
    ) -> None:
        super().__init__(network, loss=loss, batching=batching)
        self.normalise = normalise

    @abstractmethod
    def generate(self, support: Examples) -> Tensor:
        """A row for each class ``[B, ways, d]``, or with a bias at its end ``[B, ways, d + 1]``.

        Args:
            support: embedded, ``x: [B, n, d]`` and ``y: [B, n]``.
        """

    def adapt(self, support: Examples) -> nn.Module:
        """The model of one task, ``[m, *input]`` to logits ``[m, ways]``, which keeps no bond to the learner.

        Its embedding network is a copy, and sees the support set with every batch: norm layers take
        statistics from there. It answers as the learner does, unless these take them from the queries too
        (``query-batch``, and torch's own): its layer is made of the support set alone, as the queries are
        not known, and the learner's of features that are normalised by both.
        """
        with network_pass():
            embedded = over_network(self.over_tasks, self.network, None, support.x[None])
        weights = self.generate(Examples(self._as_features(embedded), support.y[None]))[0]
        return GeneratedModel(self.network, support.x, weights.detach(), self.normalise)

    def embed(self, support_x: Tensor, query_x: Tensor) -> tuple[Tensor, Tensor]:
        """Features ``[B, n, d]`` and ``[B, Q, d]``, see `EmbeddingLearner.embed`."""
        support, queries = super().embed(support_x, query_x)
        return self._as_features(support), self._as_features(queries)

    def solve(self, support: Examples, query_x: Tensor) -> Tensor:
        embedded, queries = self.embed(support.x, query_x)
        return classify(queries, self.generate(Examples(embedded, support.y)))

    def solve_alone(self, support: Examples, query_x: Tensor) -> Tensor:
        with each_query_alone(self):
            return self.solve(support, query_x)

    def _as_features(self, embedded: Tensor) -> Tensor:
        return _as_features(embedded, self.normalise)


def _as_features(embedded: Tensor, normalise: bool) -> Tensor:
    flat = embedded.flatten(2)
    return F.normalize(flat, dim=-1) if normalise else flat


class GeneratedModel(nn.Module):
    """An embedding network and the linear layer on it that was generated for one task.

    Args:
        network: is copied.
        support_x: ``[n, *input]``, passes through the network with every batch.
        weights: ``[ways, d]`` or ``[ways, d + 1]``, see `classify`.
        normalise: whether embeddings are scaled to length 1.
    """

    support_x: Tensor

    def __init__(self, network: nn.Module, support_x: Tensor, weights: Tensor, normalise: bool) -> None:
        super().__init__()
        self.embedding = EmbeddingLearner(copy.deepcopy(network), batching="loop")
        self.register_buffer("support_x", support_x.detach().clone())
        self.weights = nn.Parameter(weights)
        self.normalise = normalise

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[m, ways]`` of ``x: [m, *input]``."""
        _, embedded = self.embedding.embed(self.support_x[None], x[None])
        return classify(_as_features(embedded, self.normalise), self.weights[None])[0]
