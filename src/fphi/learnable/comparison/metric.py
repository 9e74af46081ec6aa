"""Metric learning: one embedding on the unit sphere, and a choice of losses that shape it."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.learnable.comparison.classes import class_means
from fphi.learnable.comparison.learner import ComparisonLearner
from fphi.learnable.comparison.metric_losses import (
    additive_margin,
    arcface,
    contrastive_loss,
    sphereface,
    triplet_loss,
)
from fphi.learnable.targets import require_answerable
from fphi.ranges import Range, checked
from fphi.tasks.types import Examples, Task
from fphi.within.task_map import Batching

__all__ = ["MetricLearner", "MetricLoss"]

MetricLoss = Literal["contrastive", "triplet", "additive-margin", "arcface", "sphereface"]

_PAIR_LOSSES: dict[str, Callable[..., Tensor]] = {"contrastive": contrastive_loss, "triplet": triplet_loss}
_MARGINS: dict[str, Callable[..., Tensor]] = {
    "additive-margin": additive_margin,
    "arcface": arcface,
    "sphereface": sphereface,
}


class MetricLearner(ComparisonLearner):
    """Answers by the scaled cosine of a query and each class mean; trained by a loss of its own.

    φ = the embedding network. The pair losses see support and query of a task as one labelled set. The
    margin losses are meant for a classifier over all training classes; here the class means of the
    support set stand for its weights, so that classes never seen need no new ones.

    Args:
        network: ``[n, *input]`` to embeddings ``[n, d]``, which are then normalised.
        metric_loss: which loss, see `fphi.learnable.comparison.metric_losses`.
        margin: of that loss; None: the usual one.
        scale: of the cosines, s in the papers.
        batching: ``"auto"``, ``"vmap"`` or ``"loop"``, see `TaskMap`.
    """

    @checked(scale=Range(0, open=True))
    def __init__(
        self,
        network: nn.Module,
        *,
        metric_loss: MetricLoss = "triplet",
        margin: float | None = None,
        scale: float = 16.0,
        batching: Batching = "auto",
    ) -> None:
        super().__init__(network, batching=batching)
        if metric_loss == "sphereface" and margin is not None and (margin < 1 or margin % 1):
            raise FphiError(f"margin is {margin}; sphereface multiplies the angle by a whole number from 1")
        self.metric_loss, self.scale = metric_loss, scale
        whole = metric_loss == "sphereface"
        self.margin = {} if margin is None else {"margin": int(margin) if whole else margin}

    def embed(self, support_x: Tensor, query_x: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings on the unit sphere, see `EmbeddingLearner.embed`."""
        support, queries = super().embed(support_x, query_x)
        return F.normalize(support, dim=-1), F.normalize(queries, dim=-1)

    def compare(self, support: Examples, queries: Tensor) -> Tensor:
        return self.scale * _cosines(support, queries)

    def task_losses(self, tasks: Task) -> Tensor:
        support, queries = self.embed(tasks.support.x, tasks.query.x)
        if self.metric_loss in _PAIR_LOSSES:
            together = torch.cat([support, queries], 1), torch.cat([tasks.support.y, tasks.query.y], 1)
            pair_loss = _PAIR_LOSSES[self.metric_loss]
            return self.over_tasks(lambda x, y: pair_loss(x, y, **self.margin), *together)
        cosines = _cosines(Examples(support, tasks.support.y), queries)
        require_answerable(cosines, tasks.query.y)
        return self.over_tasks(self._margin_loss, cosines, tasks.query.y)

    def _margin_loss(self, cosines: Tensor, labels: Tensor) -> Tensor:
        with_margin = _MARGINS[self.metric_loss](cosines, labels, **self.margin)
        return F.cross_entropy(self.scale * with_margin, labels)


def _cosines(support: Examples, queries: Tensor) -> Tensor:
    return queries @ F.normalize(class_means(*support), dim=-1).mT
