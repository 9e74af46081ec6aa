"""Siamese networks: are these two the same? One-shot classification is the best match."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fphi.learnable.comparison.classes import members
from fphi.learnable.comparison.learner import ComparisonLearner
from fphi.ranges import Range, checked
from fphi.tasks.types import Examples, Task
from fphi.within.task_map import Batching

__all__ = ["LearnBy", "SiameseLearner", "balanced_loss", "verification_loss"]

LearnBy = Literal["verification", "matching"]


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
    """Answers ``σ(Σⱼ aⱼ |hⱼ(x₁) - hⱼ(x₂)| + b)``, as logits (Koch et al. 2015).

    φ = the embedding h, and the weights a and b of the L1 distance. With several shots, the answer for a
    class is that of its example most like the query. There are two losses to train with:

    ================  ================================================================================
    ``verification``  the paper's: binary cross-entropy over all pairs of a query and a support example
    ``matching``      cross-entropy of the softmax over the classes' likeness to a query, which trains h
                      and a; plus the verification loss, which then trains b and a factor of the
                      likeness only, so that logits of "same" stay calibrated
    ================  ================================================================================

    Args:
        network: ``[n, *input]`` to embeddings ``[n, width]``.
        width: of the embeddings.
        features: size of a linear layer with a sigmoid after ``network``, whose outputs are compared
            (Koch: 4096); None: the embeddings are compared as they are.
        dropout: share of an embedding's values that is set to 0 in training.
        learn_by: which loss, see above.
        weight: what each entry of a begins with; None: -10 / ``width``, or -50 / ``features``, since
            sigmoids hardly differ at first.
        batching: ``"auto"``, ``"vmap"`` or ``"loop"``, see `TaskMap`.
    """

    @checked(dropout=Range(0, 1), weight=Range())
    def __init__(
        self,
        network: nn.Module,
        width: int,
        *,
        features: int | None = None,
        dropout: float = 0.0,
        learn_by: LearnBy = "verification",
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
        self.sharpness = nn.Parameter(torch.zeros(())) if learn_by == "matching" else None

    def pairs(self, support_x: Tensor, queries: Tensor) -> Tensor:
        """Logits ``[B, Q, n]`` that a query and a support example, both embedded, are of one class."""
        return self._certainty(self._likeness(support_x, queries))

    def compare(self, support: Examples, queries: Tensor) -> Tensor:
        return _best_match(self.pairs(support.x, queries), support.y)

    def task_losses(self, tasks: Task) -> Tensor:
        support, queries = self.embed(tasks.support.x, tasks.query.x)
        likeness, same = self._likeness(support, queries), _same(tasks)
        if self.sharpness is None:
            return self.over_tasks(balanced_loss, self._certainty(likeness), same)
        verified = self.over_tasks(balanced_loss, self._certainty(likeness.detach()), same)
        matches = _best_match(likeness, tasks.support.y)
        return verified + self.over_tasks(F.cross_entropy, matches, tasks.query.y)

    def measures(self, tasks: Task) -> dict[str, Tensor]:
        """``verification``: the accuracy of "same or different", over as many pairs of either kind."""
        support, queries = self.embed(tasks.support.x, tasks.query.x)
        yes, same = (self.pairs(support, queries) > 0).float(), _same(tasks)
        accepted = (yes * same).sum((1, 2)) / same.sum((1, 2))
        refused = ((1 - yes) * ~same).sum((1, 2)) / (~same).sum((1, 2))
        return {"verification": (accepted + refused) / 2}

    def _likeness(self, support_x: Tensor, queries: Tensor) -> Tensor:
        """Σⱼ aⱼ |hⱼ(x₁) - hⱼ(x₂)| of embedded examples: ``[B, Q, n]``, the higher the more alike."""
        first, second = (self.describe(self.dropout(embedded)) for embedded in (support_x, queries))
        apart = (second.unsqueeze(2) - first.unsqueeze(1)).abs()  # [B, Q, n, d]
        return F.linear(apart, self.verify.weight).squeeze(-1)

    def _certainty(self, likeness: Tensor) -> Tensor:
        """Logits that it is the likeness of two examples of one class."""
        factor = 1 if self.sharpness is None else self.sharpness.exp()
        return factor * likeness + self.verify.bias


def _best_match(likeness: Tensor, labels: Tensor) -> Tensor:
    """The highest likeness ``[B, Q, ways]`` among the examples of each class; ``labels: [B, n]``."""
    others = ~members(labels).unsqueeze(1)  # [B, 1, n, ways]
    return likeness.unsqueeze(-1).masked_fill(others, -torch.inf).amax(2)


def _same(tasks: Task) -> Tensor:
    """Which queries and support examples are of one class: ``[B, Q, n]``."""
    return tasks.query.y.unsqueeze(2) == tasks.support.y.unsqueeze(1)
