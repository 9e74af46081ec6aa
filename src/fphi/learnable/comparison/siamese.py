"""Siamese networks: are these two the same? One-shot classification is the best match."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fphi.learnable.base import Loss
from fphi.learnable.comparison.classes import members
from fphi.learnable.comparison.learner import ComparisonLearner
from fphi.tasks.types import Examples, Task
from fphi.within.task_map import Batching

__all__ = ["SiameseLearner", "verification_loss"]


def verification_loss(answers: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy of logits ``[Q, ways]`` that a query is of a class; same and different weigh half.

    A query has one class that is its own and ways - 1 that are not: unbalanced, the best constant answer
    would be "different".
    """
    same = F.one_hot(labels, answers.shape[-1]).to(answers.dtype)
    weight = same / same.sum() + (1 - same) / (1 - same).sum()
    return F.binary_cross_entropy_with_logits(answers, same, weight / 2, reduction="sum")


class SiameseLearner(ComparisonLearner):
    """Answers σ(Σⱼ aⱼ |hⱼ(x₁) - hⱼ(x₂)| + b), as logits (Koch et al. 2015).

    φ = the embedding h, and the weights a and b of the L1 distance. With several shots a class answers by
    its best match.

    Args:
        network: ``[n, *input]`` to embeddings ``[n, width]``.
        width: of the embeddings.
        loss: scalar loss of one task from the logits "query q is of class c" and labels.
    """

    def __init__(
        self, network: nn.Module, width: int, *, loss: Loss = verification_loss, batching: Batching = "auto"
    ) -> None:
        super().__init__(network, loss=loss, batching=batching)
        self.verify = nn.Linear(width, 1)
        # Far apart is different, from the start: what is learned is how much each feature counts.
        nn.init.constant_(self.verify.weight, -1.0 / width)
        nn.init.zeros_(self.verify.bias)

    def compare(self, support: Examples, queries: Tensor, transductive: bool = True) -> Tensor:
        apart = (queries.unsqueeze(2) - support.x.unsqueeze(1)).abs()  # [B, Q, n, d]
        same: Tensor = self.verify(apart).squeeze(-1)  # [B, Q, n]
        others = ~members(support.y).unsqueeze(1)  # [B, 1, n, ways]
        return same.unsqueeze(-1).masked_fill(others, -torch.inf).amax(2)

    def measures(self, tasks: Task) -> dict[str, Tensor]:
        """``verification``: the accuracy of "same or different", over as many pairs of either kind."""
        answers = self.solve(tasks.support, tasks.query.x)
        same = F.one_hot(tasks.query.y, answers.shape[-1]).bool()
        yes = (answers > 0).float()
        accepted = (yes * same).sum((1, 2)) / same.sum((1, 2))
        refused = ((1 - yes) * ~same).sum((1, 2)) / (~same).sum((1, 2))
        return {"verification": (accepted + refused) / 2}
