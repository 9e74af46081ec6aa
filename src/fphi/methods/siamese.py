"""Siamese networks: learn to tell same from different; the best match classifies.

1. Learnable: an embedding network, and how much each of its features counts in a distance.
2. Loss: binary cross-entropy of "same" over pairs of a query and a support example; by matching, this and
   the cross-entropy of a query's best match.
3. Optimize: by gradient; there is no inner loop.
"""

from dataclasses import dataclass

from fphi.errors import FphiError
from fphi.learnable import LearningAlgorithm, SiameseLearner
from fphi.learnable.comparison.siamese import LearnBy
from fphi.learnable.embedding import embedding_size
from fphi.methods.comparing import ComparingEmbeddings
from fphi.methods.registry import Setting, method
from fphi.networks import KochNet

__all__ = ["Siamese"]


@method(
    "siamese",
    paper="Koch, Zemel, Salakhutdinov: Siamese Networks for One-shot Recognition, ICML workshop 2015",
)
@dataclass(frozen=True)
class Siamese(ComparingEmbeddings):
    """Same or different, by a weighted L1 distance; a class answers by its best match.

    The paper draws pairs, half of them of one class. Here a task's queries meet its whole support set, and
    the loss gives either kind half of the weight: many more pairs per image. Its protocol, P-KOCH, distorts
    the training images and takes a task from one alphabet: alphabets of fewer classes than ``train_ways``
    are not trained on. Adam takes the place of a momentum for each layer.

    Args:
        features: that a linear layer with a sigmoid makes of an embedding, as the paper's network ends; null:
            the embedding itself is compared.
        dropout: share of an embedding's values that is set to 0 in training, before that layer.
        learn_by: "verification", the paper's loss over pairs; by "matching", embedding and weights learn to
            rank a query's own class first among all of its task (a softmax), and only how certain of "same" a
            distance makes learns from pairs.
        koch_net: whether the embedding is the paper's own, of 39 million parameters and for images of
            105x105 pixels (``--image-size 105``), in place of ``network``, ``features`` and ``dropout``.
    """

    train_ways: int | None = 20
    features: int | None = 512
    dropout: float = 0.0
    learn_by: LearnBy = "verification"
    koch_net: bool = False

    def learner(self, setting: Setting) -> LearningAlgorithm:
        if self.dropout > 0 and (self.koch_net or self.features is None):
            raise FphiError(
                f"--dropout is {self.dropout}, and there is no layer that it comes before: give --features a "
                "number and leave --koch-net out, or leave --dropout out"
            )
        if self.koch_net:
            # Thousands of features that hardly differ at first: their mean distance is next to nothing.
            return SiameseLearner(_koch_net(setting), KochNet.WIDTH, learn_by=self.learn_by, weight=-0.2)
        if self.features is not None and self.features < 1:
            raise FphiError(
                f"--features is {self.features}; ask for at least 1, or null to compare the embedding itself"
            )
        network = self.embedding(setting)
        size = embedding_size(network, setting.input_shape)
        return SiameseLearner(
            network, size, features=self.features, dropout=self.dropout, learn_by=self.learn_by
        )


def _koch_net(setting: Setting) -> KochNet:
    if setting.input_shape != (1, KochNet.SIZE, KochNet.SIZE):
        raise FphiError(
            f"--koch-net true needs grey images of {KochNet.SIZE}x{KochNet.SIZE} pixels, and these are "
            f"{' x '.join(map(str, setting.input_shape))}: add --image-size {KochNet.SIZE}, or leave it out"
        )
    return KochNet()
