"""Prototypical networks: a class is the mean of its embedded examples, an answer the nearest mean."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.learnable.base import Loss
from fphi.learnable.embedding import EmbeddingLearner
from fphi.tasks.types import Examples
from fphi.within.task_map import Batching

__all__ = ["PrototypicalLearner", "prototypes"]


class PrototypicalLearner(EmbeddingLearner):
    """Answers by the distance of embedded queries to class means (Snell et al. 2017, arXiv 1703.05175).

    φ = the embedding network. Support and query of all tasks pass through it at once.

    Args:
        network: ``[n, *input]`` to embeddings ``[n, d]``.
        distance: ``"euclidean"`` means the squared distance, as in the paper.
        loss: scalar loss of one task from logits (minus the distances) and labels.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        distance: Literal["euclidean", "cosine"] = "euclidean",
        loss: Loss = F.cross_entropy,
        batching: Batching = "auto",
    ) -> None:
        super().__init__(network, loss=loss, batching=batching)
        self.distance = distance

    def solve(self, support: Examples, query_x: Tensor, transductive: bool = True) -> Tensor:
        embedded, queries = self.embed(support.x, query_x, transductive)
        centers = prototypes(embedded, support.y)
        if self.distance == "cosine":
            return F.normalize(queries, dim=-1) @ F.normalize(centers, dim=-1).mT
        return -(queries.unsqueeze(2) - centers.unsqueeze(1)).square().sum(-1)


def prototypes(embedded: Tensor, labels: Tensor) -> Tensor:
    """Class means ``[B, ways, d]`` of ``embedded: [B, n, d]`` by ``labels: [B, n]``.

    Raises:
        FphiError: a class of 0..max(labels) has no support example.
    """
    ways = int(labels.max()) + 1
    member = F.one_hot(labels, ways).to(embedded.dtype)  # [B, n, ways]
    counts = member.sum(1)
    if (counts == 0).any():
        task, label = (counts == 0).nonzero()[0].tolist()
        raise FphiError(
            f"class {label} of task {task} has no support example (labels go up to {ways - 1}): "
            "give at least one example of every class"
        )
    return member.mT @ embedded / counts.unsqueeze(2)
