"""Prototypical networks: compare with the mean embedding of each class.

1. Learnable: an embedding network.
2. Loss: cross-entropy of the queries over minus their squared distances to the class means.
3. Optimize: by gradient; there is no inner loop.
"""

from dataclasses import dataclass
from typing import ClassVar

from fphi.learnable import LearningAlgorithm, PrototypicalLearner
from fphi.learnable.comparison.similarity import Distance
from fphi.methods.base import Setting, Usual
from fphi.methods.families.comparing import ComparingEmbeddings
from fphi.methods.table import method

__all__ = ["Prototypical"]


@method("prototypical", paper="Snell, Swersky, Zemel: Prototypical Networks, NIPS 2017", arxiv="1703.05175")
@dataclass(frozen=True)
class Prototypical(ComparingEmbeddings):
    """A class is the mean of its embedded examples; the nearest mean answers.

    Args:
        distance: squared Euclidean, or cosine with a learned scale.
    """

    usual: ClassVar[Usual] = Usual(
        steps=400,
        meta_batch=1,
        paper="epochs of 100 steps of one 60-way task, until 200 epochs bring nothing, the rate halved every "
        "2,000 steps: --steps 40000 --meta-batch 1 --patience 200 --validate-every 100",
    )

    distance: Distance = "euclidean"

    def learner(self, setting: Setting) -> LearningAlgorithm:
        return PrototypicalLearner(self.embedding(setting), distance=self.distance)
