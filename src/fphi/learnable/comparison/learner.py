"""Learning to compare: support and query are embedded, and an answer is how alike they are."""

from abc import abstractmethod
from typing import ClassVar

from torch import Tensor

from fphi.learnable.base import each_query_alone
from fphi.learnable.comparison.classes import OfEqualWays
from fphi.learnable.embedding import EmbeddingLearner
from fphi.tasks.types import Examples

__all__ = ["ComparisonLearner"]


class ComparisonLearner(OfEqualWays, EmbeddingLearner):
    """A learner whose answers come from embedded examples alone; a subclass defines `compare`."""

    reads_labels: ClassVar[bool] = True

    @abstractmethod
    def compare(self, support: Examples, queries: Tensor) -> Tensor:
        """Answers ``[B, Q, ways]`` for embedded ``queries: [B, Q, *d]``; ``support.x: [B, n, *d]``.

        Raises:
            FphiError: a class of 0..max(support.y) has no example.
        """

    def solve(self, support: Examples, query_x: Tensor) -> Tensor:
        embedded, queries = self.embed(support.x, query_x)
        return self.compare(Examples(embedded, support.y), queries)

    def solve_alone(self, support: Examples, query_x: Tensor) -> Tensor:
        with each_query_alone(self):
            return self.solve(support, query_x)
