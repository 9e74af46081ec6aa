"""Siamese networks: are these two the same? One-shot classification is the best match."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fphi.learnable.comparison.classes import members
from fphi.learnable.comparison.learner import ComparisonLearner
from fphi.tasks.types import Examples, Task
from fphi.within.task_map import Batching

__all__ = ["SiameseLearner", "balanced_loss", "verification_loss"]


def verification_loss(answers: Tensor, labels: Tensor) -> Tensor:
    """`balanced_loss` of logits ``[Q, ways]`` that a query is of a class, and its label ``[Q]``."""
    return balanced_loss(answers, F.one_hot(labels, answers.shape[-1]).bool())


def balanced_loss(logits: Tensor, same: Tensor) -> Tensor:
    """Binary cross-entropy of ``logits`` where ``same`` says which pairs are of one class.

    Same and different weigh half: a query has one class that is its own and ways - 1 that are not, and the
    best constant answer would be "different".
    """
    either = torch.stack([same, ~same]).to(logits.dtype)
    weight = (either / either.flatten(1).sum(1).clamp_min(1).view(2, *[1] * same.dim())).sum(0) / 2
    return F.binary_cross_entropy_with_logits(logits, either[0], weight, reduction="sum")


class SiameseLearner(ComparisonLearner):
    """Answers σ(Σⱼ aⱼ |hⱼ(x₁) - hⱼ(x₂)| + b), as logits (Koch et al. 2015).

    φ = the embedding h, and the weights a and b of the L1 distance. With several shots a class answers by
    its best match; the loss is over all pairs of a query and a support example.

    Args:
        network: ``[n, *input]`` to embeddings ``[n, width]``.
        width: of the embeddings.
        features: that a linear layer with a sigmoid makes of an embedding, to be compared in its place;
            None: the embedding itself is compared.
        dropout: share of an embedding's values that is set to 0 in training, before they are described or
            compared.
        weight: first weight of each feature; None: one that suits features of size 1, or sigmoids, which
            hardly differ at first.
    """

    def __init__(
        self,
        network: nn.Module,
        width: int,
        *,
        features: int | None = None,
        dropout: float = 0.0,
        weight: float | None = None,
        batching: Batching = "auto",
    ) -> None:
        super().__init__(network, loss=verification_loss, batching=batching)
        self.dropout = nn.Dropout(dropout)
        self.describe: nn.Module
        if features is None:
            self.describe, compared, total = nn.Identity(), width, -10.0
        else:
            layers = nn.Sequential(nn.Linear(width, features), nn.Sigmoid())
            self.describe, compared, total = layers, features, -50.0
        self.verify = nn.Linear(compared, 1)
        # Far apart is different and near the same, from the start: small weights take long to grow.
        nn.init.constant_(self.verify.weight, total / compared if weight is None else weight)
        nn.init.constant_(self.verify.bias, 3.0)

    def pairs(self, support_x: Tensor, queries: Tensor) -> Tensor:
        """Logits ``[B, Q, n]`` that a query and a support example, both embedded, are of one class."""
        first, second = (self.describe(self.dropout(embedded)) for embedded in (support_x, queries))
        apart = (second.unsqueeze(2) - first.unsqueeze(1)).abs()  # [B, Q, n, d]
        same: Tensor = self.verify(apart).squeeze(-1)
        return same

    def compare(self, support: Examples, queries: Tensor, transductive: bool = True) -> Tensor:
        others = ~members(support.y).unsqueeze(1)  # [B, 1, n, ways]
        matches = self.pairs(support.x, queries).unsqueeze(-1)
        return matches.masked_fill(others, -torch.inf).amax(2)

    def task_losses(self, tasks: Task) -> Tensor:
        return self.over_tasks(balanced_loss, *self._verified(tasks))

    def measures(self, tasks: Task) -> dict[str, Tensor]:
        """``verification``: the accuracy of "same or different", over as many pairs of either kind."""
        logits, same = self._verified(tasks)
        yes = (logits > 0).float()
        accepted = (yes * same).sum((1, 2)) / same.sum((1, 2))
        refused = ((1 - yes) * ~same).sum((1, 2)) / (~same).sum((1, 2))
        return {"verification": (accepted + refused) / 2}

    def _verified(self, tasks: Task) -> tuple[Tensor, Tensor]:
        """All pairs of a task ``[B, Q, n]``: what is said of them, and whether they are of one class."""
        support, queries = self.embed(tasks.support.x, tasks.query.x)
        return self.pairs(support, queries), tasks.query.y.unsqueeze(2) == tasks.support.y.unsqueeze(1)
