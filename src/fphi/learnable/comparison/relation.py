"""Relation networks: how alike a class and a query are is itself learned."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fphi.learnable.base import Loss, passes_alone
from fphi.learnable.comparison.classes import members, require_equal_shots
from fphi.learnable.comparison.learner import ComparisonLearner
from fphi.tasks.types import Examples, Task
from fphi.within.stand_in import own_parameters
from fphi.within.task_map import Batching, call_network

__all__ = ["RelationLearner", "relation_loss"]


def relation_loss(answers: Tensor, labels: Tensor) -> Tensor:
    """Mean squared error of relations ``[Q, ways]`` against 1 for the right class and 0 for all others."""
    return F.mse_loss(answers, F.one_hot(labels, answers.shape[-1]).to(answers.dtype))


class RelationLearner(ComparisonLearner):
    """Answers r(Σₖ f(xₖ), f(x)) in 0..1 by a learned relation r (Sung et al. 2018, arXiv 1711.06025).

    φ = the embedding f and the relation module r. A class is the sum of its maps, which ties what is
    learned to its shots; each class must have as many.

    Args:
        network: ``[n, *input]`` to feature maps ``[n, c, h, w]``.
        relation: classes ``[N, c, h, w]`` and queries ``[Q, c, h, w]`` to relations ``[Q, N]``.
        loss: scalar loss of one task from relations and labels.
        batching: ``"auto"``, ``"vmap"`` or ``"loop"``, see `TaskMap`.
    """

    def __init__(
        self,
        network: nn.Module,
        relation: nn.Module,
        *,
        loss: Loss = relation_loss,
        batching: Batching = "auto",
    ) -> None:
        super().__init__(network, loss=loss, batching=batching)
        self.relation = relation

    def compare(self, support: Examples, queries: Tensor) -> Tensor:
        classes = _summed(support)
        if passes_alone(self.relation, partial(self._relate, classes[:1]), queries):
            return torch.cat([self._relate(classes, query) for query in torch.split(queries, 1, dim=1)], 1)
        return self._relate(classes, queries)

    def _relate(self, classes: Tensor, queries: Tensor) -> Tensor:
        own = own_parameters(self.relation)
        return self.over_tasks(lambda c, q: call_network(self.relation, own, c, q), classes, queries)

    def logits(self, answers: Tensor) -> Tensor:
        """The logarithms of relations: probabilities are their shares of a query's sum."""
        return answers.clamp_min(torch.finfo(answers.dtype).tiny).log()

    def observe(self, task: Task) -> None:
        """The relation module sees pairs, so it is passed what it would be in training."""
        rows = len(task.support.y)
        examples = torch.cat([task.support.x, task.query.x])
        maps = call_network(self.network, own_parameters(self.network), examples)
        classes = _summed(Examples(maps[None, :rows], task.support.y[None]))[0]
        call_network(self.relation, own_parameters(self.relation), classes, maps[rows:])


def _summed(support: Examples) -> Tensor:
    """The sum ``[B, ways, c, h, w]`` of each class's maps."""
    require_equal_shots(support.y, "a relation network")
    member = members(support.y).to(support.x.dtype)
    return torch.einsum("bnw,bn...->bw...", member, support.x)
