"""The baselines of meta-learning: features that are learned without episodes, and then a new task."""

import copy
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.learnable.base import AnswersAtTest, Loss, each_query_alone, over_network, run_network
from fphi.learnable.comparison.classes import OfEqualWays, class_means
from fphi.learnable.comparison.similarity import Distance, Similarity
from fphi.learnable.embedding import EmbeddingLearner
from fphi.learnable.initialization.gradient_learner import GradientLearner
from fphi.learnable.initialization.pretexts import Pretext, require_class_numbers
from fphi.ranges import Range, checked
from fphi.tasks.types import Examples, Task
from fphi.within.adaptive import adam
from fphi.within.optimizers import UpdateRule
from fphi.within.task_map import Batching

__all__ = ["Adapt", "PretrainedLearner"]

Adapt = Literal["centroids", "head", "all"]


class _WithHead(nn.Module):
    """Features (``body``), and a linear ``head`` after them."""

    def __init__(self, body: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.body, self.head = body, head

    def forward(self, x: Tensor) -> Tensor:
        answers: Tensor = self.head(self.body(x).flatten(1))
        return answers


class PretrainedLearner(OfEqualWays, EmbeddingLearner):
    """Learn features by a `Pretext`, all training examples pooled; answer a task from its support set.

    φ = the network of features and what belongs to the pretext. Across tasks nothing is learned of how to
    learn from a support set. There are three ways to answer:

    =============  =====================================================================================
    ``centroids``  the nearest class mean of the features; nothing is trained
    ``head``       a new linear layer is trained on the support set's features
    ``all``        the same, and the network with it
    =============  =====================================================================================

    The new layer starts at zero, so that no class is preferred; in regression it is that of all tasks.

    Args:
        network: ``[n, *input]`` to features ``[n, d]``.
        pretext: what they are learned by.
        adapt: see above.
        optimizer: the update rule of training on the support set, for ``head`` and ``all``; one that learns
            nothing itself. None: Adam.
        steps: of it, on all of the support set.
        distance: of features and class means, for ``centroids``.
        scale: of the cosines there.
        loss: scalar loss of one task, for support and query.
        batching: ``"auto"``, ``"vmap"`` or ``"loop"``, see `TaskMap`.
    """

    only_at_test: ClassVar[bool] = True

    @checked(steps=Range(0), scale=Range(0, open=True))
    def __init__(
        self,
        network: nn.Module,
        pretext: Pretext,
        *,
        adapt: Adapt = "centroids",
        optimizer: UpdateRule | None = None,
        steps: int = 50,
        distance: Distance = "cosine",
        scale: float = 10.0,
        loss: Loss = F.cross_entropy,
        batching: Batching = "auto",
    ) -> None:
        super().__init__(network, loss=loss, batching=batching)
        self.pretext, self.adapt_by, self.steps = pretext, adapt, steps
        self.optimizer = adam(0.01) if optimizer is None else copy.deepcopy(optimizer)
        self.distance, self.scale = distance, scale

    def task_losses(self, tasks: Task) -> Tensor:
        """The pretext's loss ``[B]`` of each task, which is a minibatch: there is no support set in it."""
        return self.pretext.losses(self._features, tasks)

    def examples_at_once(self, tasks: Task) -> int:
        return self.pretext.copies * super().examples_at_once(tasks)

    def numbers_at_once(self) -> int:
        tuned = self.adapt_by == "all" and not self.training
        return sum(p.numel() for p in self.parameters()) if tuned else 0

    def solve(self, support: Examples, query_x: Tensor) -> Tensor:
        if self.adapt_by == "centroids":
            return self._compared(support, query_x)
        return self._tuned(support).solve(self._seen(support), self._asked(support, query_x))

    def solve_alone(self, support: Examples, query_x: Tensor) -> Tensor:
        if self.adapt_by == "all":
            return self._tuned(support).solve_alone(support, query_x)
        with each_query_alone(self):
            return self.solve(support, query_x)

    @torch.no_grad()
    def answers_at_test(
        self, support: Examples, query_x: Tensor, steps: int | None = None, alone: bool = True
    ) -> AnswersAtTest:
        """See `LearningAlgorithm.answers_at_test`; by step where there are steps."""
        if self.adapt_by == "centroids":
            return super().answers_at_test(support, query_x, steps, alone)
        learner, seen, asked = self._tuned(support), self._seen(support), self._asked(support, query_x)
        if self.adapt_by == "all":
            return learner.answers_at_test(seen, asked, steps, alone)
        answers = learner.answers_at_test(seen, asked, steps, alone=False)
        return answers._replace(alone=self.solve_alone(support, query_x) if alone else None)

    def _compared(self, support: Examples, query_x: Tensor) -> Tensor:
        ways = self._ways(support)
        if ways is None:
            raise FphiError("class means need classes, and these targets are numbers: take adapt='all'")
        if int(support.y.min()) < 0:
            raise FphiError(f"support.y has the label {int(support.y.min())}; number the classes from 0")
        examples, queries = (part.flatten(2) for part in self.embed(support.x, query_x))
        similarity = Similarity(self.distance, self.scale).requires_grad_(False).to(queries)
        answers: Tensor = similarity(queries, class_means(examples, support.y))
        return answers

    def _tuned(self, support: Examples) -> GradientLearner:
        """What is trained on such a support set: the network with a head, or the head on its features."""
        head = self.pretext.head(self._ways(support))
        trained = head if self.adapt_by == "head" else _WithHead(self.network, head)
        learner = GradientLearner(
            trained, self.optimizer, self.steps, order=1, loss=self.loss, batching=self.over_tasks.batching
        )
        for module in (learner, trained, head):
            module.training = self.training  # what is within the network stays as it is
        return learner

    def _ways(self, support: Examples) -> int | None:
        """Classes of such a task; None: its targets are numbers.

        Raises:
            FphiError: the targets are neither.
        """
        if support.y.is_floating_point():
            return None
        require_class_numbers("support.y", support.y)
        ways, examples = int(support.y.max()) + 1, support.y.shape[1]
        if ways > examples:
            raise FphiError(
                f"support.y has the label {ways - 1}, and {examples} examples cannot be of so many classes: "
                "number the classes from 0 to ways - 1"
            )
        return ways

    def _seen(self, support: Examples) -> Examples:
        """What that is trained on: a head on features, which are computed once."""
        return Examples(self._features(support.x), support.y) if self.adapt_by == "head" else support

    def _asked(self, support: Examples, query_x: Tensor) -> Tensor:
        """What it answers."""
        if self.adapt_by == "all":
            return query_x
        return run_network(self.over_tasks, self.network, None, support.x, query_x).flatten(2)

    def _features(self, x: Tensor) -> Tensor:
        """``[B, n, *input]`` to ``[B, n, d]``; all n of a task are one batch."""
        return over_network(self.over_tasks, self.network, None, x).flatten(2)
