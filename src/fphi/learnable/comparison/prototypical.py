"""Prototypical networks: a class is the mean of its embedded examples, an answer the nearest mean."""

import torch.nn.functional as F
from torch import Tensor, nn

from fphi.learnable.base import Loss
from fphi.learnable.comparison.classes import class_means
from fphi.learnable.comparison.learner import ComparisonLearner
from fphi.learnable.comparison.similarity import Distance, Similarity
from fphi.tasks.types import Examples
from fphi.within.task_map import Batching

__all__ = ["PrototypicalLearner"]


class PrototypicalLearner(ComparisonLearner):
    """Answers by the similarity of embedded queries to class means (Snell et al. 2017, arXiv 1703.05175).

    φ = the embedding network, and with cosines their scale. Any number of shots, in any order.

    Args:
        network: ``[n, *input]`` to embeddings ``[n, d]``.
        distance: ``"euclidean"`` means the squared distance, as in the paper.
        loss: scalar loss of one task from logits (the similarities) and labels.
        batching: ``"auto"``, ``"vmap"`` or ``"loop"``, see `TaskMap`.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        distance: Distance = "euclidean",
        loss: Loss = F.cross_entropy,
        batching: Batching = "auto",
    ) -> None:
        super().__init__(network, loss=loss, batching=batching)
        self.similarity = Similarity(distance)

    def compare(self, support: Examples, queries: Tensor) -> Tensor:
        similar: Tensor = self.similarity(queries, class_means(*support))
        return similar
