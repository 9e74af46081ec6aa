"""Siamese networks: learn to tell same from different; the best match classifies.

1. Learnable: an embedding network, and how much each of its features counts in a distance.
2. Loss: binary cross-entropy of "same" over pairs of a query and a support example.
3. Optimize: by gradient; there is no inner loop.
"""

from dataclasses import dataclass

from fphi.learnable import LearningAlgorithm, SiameseLearner
from fphi.learnable.embedding import embedding_size
from fphi.methods.comparing import ComparingEmbeddings
from fphi.methods.registry import Setting, method

__all__ = ["Siamese"]


@method(
    "siamese",
    paper="Koch, Zemel, Salakhutdinov: Siamese Networks for One-shot Recognition, ICML workshop 2015",
)
@dataclass(frozen=True)
class Siamese(ComparingEmbeddings):
    """Same or different, by a weighted L1 distance; a class answers by its best match.

    The paper draws pairs, half of them of one class. Here a task's queries meet its support set, and the
    loss gives either kind half of the weight: the same expectation from many more pairs per image.
    """

    train_ways: int = 20

    def learner(self, setting: Setting) -> LearningAlgorithm:
        network = self.embedding(setting)
        return SiameseLearner(network, embedding_size(network, setting.input_shape))
