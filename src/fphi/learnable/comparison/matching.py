"""Matching networks: an answer is the labels of the support set, weighted by attention."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fphi.learnable.base import Loss
from fphi.learnable.comparison.classes import class_means, members
from fphi.learnable.comparison.full_context import FullContext
from fphi.learnable.comparison.learner import ComparisonLearner
from fphi.learnable.comparison.similarity import Distance, Similarity
from fphi.tasks.types import Examples
from fphi.within.task_map import Batching

__all__ = ["MatchingLearner", "attended_labels"]


class MatchingLearner(ComparisonLearner):
    """ŷ = Σᵢ a(x, xᵢ) yᵢ with a = softmax of similarities (Vinyals et al. 2016, arXiv 1606.04080).

    φ = the embedding network, the scale of the cosines, and the context's LSTMs. Answers are log ŷ, exact
    logarithms of probabilities, on which cross-entropy is -log ŷ.

    Args:
        network: ``[n, *input]`` to embeddings ``[n, d]``.
        distance: the paper's cosine, or minus the squared Euclidean distance.
        context: full context embeddings of width ``d``; with them the support set's order counts.
        prototypes: attend to the class means instead of the examples: with ``context`` the prototype
            matching network of Wang et al. 2018 (arXiv 1801.05401).
        scale: first scale of the cosines; 1 is the paper's.
        loss: scalar loss of one task from log-probabilities and labels.
        batching: ``"auto"``, ``"vmap"`` or ``"loop"``, see `TaskMap`.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        distance: Distance = "cosine",
        context: FullContext | None = None,
        prototypes: bool = False,
        scale: float = 10.0,
        loss: Loss = F.cross_entropy,
        batching: Batching = "auto",
    ) -> None:
        super().__init__(network, loss=loss, batching=batching)
        self.similarity = Similarity(distance, scale)
        self.context, self.prototypes = context, prototypes

    def compare(self, support: Examples, queries: Tensor) -> Tensor:
        keys, labels = support
        if self.prototypes:
            keys, labels = _prototypes(keys, labels)
        if self.context is not None:
            keys, queries = self.context(keys, queries)
        return attended_labels(self.similarity(queries, keys), labels)


def attended_labels(similarities: Tensor, labels: Tensor) -> Tensor:
    """Log ŷ ``[B, Q, ways]``: labels ``[B, n]``, weighted by the softmax of ``similarities: [B, Q, n]``."""
    attention = similarities.log_softmax(-1)
    others = ~members(labels).unsqueeze(1)  # [B, 1, n, ways]
    return attention.unsqueeze(-1).masked_fill(others, -torch.inf).logsumexp(2)


def _prototypes(embedded: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Class means and their labels, as the classes first appear: labels say nothing of an order."""
    order = members(labels).int().argmax(1).argsort(-1)  # [B, ways]
    at = torch.arange(len(order), device=order.device)[:, None]
    return class_means(embedded, labels)[at, order], order
