"""Matching networks: attend to the support set, and answer with its labels.

1. Learnable: an embedding network, and with full context embeddings an LSTM that reads the support set
   and one that attends to it.
2. Loss: minus the logarithm of the attention that the right class gets.
3. Optimize: by gradient; there is no inner loop.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import ClassVar

from fphi.learnable import FullContext, LearningAlgorithm, MatchingLearner
from fphi.learnable.comparison.similarity import Distance
from fphi.methods.base import Setting, Usual
from fphi.methods.families.comparing import ComparingEmbeddings
from fphi.methods.table import method
from fphi.ranges import count
from fphi.tasks.episodes import TrainingTasks

__all__ = ["Matching"]


@method(
    "matching",
    paper="Vinyals, Blundell, Lillicrap, Kavukcuoglu, Wierstra: Matching Networks, NIPS 2016",
    arxiv="1606.04080",
)
@dataclass(frozen=True)
class Matching(ComparingEmbeddings):
    """The labels of the support set, weighted by how alike each example is.

    Args:
        distance: cosine with a learned scale (the paper's has scale 1), or squared Euclidean.
        context: whether examples are embedded in the context of the whole support set.
        reads: steps of the LSTM that attends to the support set, where there is context.
    """

    usual: ClassVar[Usual] = Usual(
        steps=400,
        meta_batch=1,
        paper="the paper does not say; comparisons train as long as prototypical",
    )

    distance: Distance = "cosine"
    context: bool = False
    reads: int = count(5, 1000, least=0)

    def learner(self, setting: Setting) -> LearningAlgorithm:
        network = self.embedding(setting)
        context = FullContext(setting.embedding_size(network), self.reads) if self.context else None
        return MatchingLearner(network, distance=self.distance, context=context)

    def idle(self, setting: Setting) -> Collection[str]:
        return super().idle(setting) if self.context else (*super().idle(setting), "reads")

    def train_tasks(self, ways: int, shots: int) -> TrainingTasks:
        # No LSTM shall find classes by their place.
        return replace(super().train_tasks(ways, shots), order="shuffled")
