"""NIL: no inner loop at test; what the body has learned is compared, and the head is left out."""

from collections.abc import Callable
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.learnable.base import AnswersAtTest, LearningAlgorithm, over_network, run_network
from fphi.learnable.comparison.classes import OfEqualWays
from fphi.learnable.comparison.matching import attended_labels
from fphi.learnable.initialization.gradient_learner import GradientLearner
from fphi.tasks.types import Examples
from fphi.within.optimizers import Parameters

__all__ = ["NILLearner"]


class NILLearner(OfEqualWays, GradientLearner):
    """A `GradientLearner` in training, which adapts nothing in ``eval()``: there is no inner loop.

    There the head is left out, and answers are the labels of the support set, weighted by the softmax of the
    cosines of its features with the query's (Raghu et al. 2020, arXiv 1909.09157). It classifies, and its
    network has ``body`` and ``head``; one that was trained by ANIL or MAML has the same parameters.
    """

    reads_labels: ClassVar[bool] = True
    only_at_test: ClassVar[bool] = True

    @classmethod
    def of(cls, learner: GradientLearner) -> Self:
        """With the network of another learner, in whatever way that was trained; they share it."""
        return cls(
            learner.network, learner.optimizer, learner.steps, adapts=learner.adapts, loss=learner.loss
        ).train(learner.training)

    def adapt(self, support: Examples) -> Parameters:
        """See `GradientLearner.adapt`.

        Raises:
            FphiError: in ``eval()`` there is nothing to adapt.
        """
        if not self.training:
            raise FphiError(
                "NIL adapts nothing at test: call the learner with support set and queries, or train() first"
            )
        return super().adapt(support)

    def answering(self, support: Examples, steps: int | None = None) -> Callable[[Tensor], Tensor]:
        """See `GradientLearner.answering`; in ``eval()`` log-probabilities, without any step."""
        if self.training:
            return super().answering(support, steps)
        examples = over_network(self.over_tasks, self._body, None, support.x)

        def answers(query_x: Tensor) -> Tensor:
            queries = run_network(self.over_tasks, self._body, None, support.x, query_x)
            cosines = _directions(queries) @ _directions(examples).mT
            return attended_labels(cosines, support.y)

        return answers

    @torch.no_grad()
    def answers_at_test(
        self, support: Examples, query_x: Tensor, steps: int | None = None, alone: bool = True
    ) -> AnswersAtTest:
        """See `LearningAlgorithm.answers_at_test`; there are none by step."""
        return LearningAlgorithm.answers_at_test(self, support, query_x, steps, alone)

    @property
    def _body(self) -> nn.Module:
        if not hasattr(self.network, "body"):
            raise FphiError(f"NIL needs a network with .body and .head, not {type(self.network).__name__}")
        return self.network.get_submodule("body")


def _directions(features: Tensor) -> Tensor:
    """``[B, n, *d]`` as vectors of length one ``[B, n, d]``."""
    return F.normalize(features.flatten(2), dim=-1)
