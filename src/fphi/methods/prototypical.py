"""Prototypical networks: compare with the mean embedding of each class.

1. Learnable: an embedding network.
2. Loss: cross-entropy of the queries over minus their squared distances to the class means.
3. Optimize: by gradient; there is no inner loop.
"""

from dataclasses import dataclass

from fphi.learnable import LearningAlgorithm, PrototypicalLearner
from fphi.learnable.comparison.similarity import Distance
from fphi.methods.comparing import ComparingEmbeddings
from fphi.methods.registry import Setting, method

__all__ = ["Prototypical"]


@method("prototypical", paper="Snell, Swersky, Zemel: Prototypical Networks, NIPS 2017", arxiv="1703.05175")
@dataclass(frozen=True)
class Prototypical(ComparingEmbeddings):
    """A class is the mean of its embedded examples; the nearest mean answers.

    Args:
        distance: squared Euclidean, or cosine with a learned scale.
    """

    distance: Distance = "euclidean"

    def learner(self, setting: Setting) -> LearningAlgorithm:
        return PrototypicalLearner(self.embedding(setting), distance=self.distance)
