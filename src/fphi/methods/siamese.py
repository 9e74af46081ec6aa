"""Siamese networks: learn to tell same from different; the best match classifies.

1. Learnable: an embedding network, and how much each of its features counts in a distance.
2. Loss: binary cross-entropy of "same" over pairs of a query and a support example; by matching, this and
   the cross-entropy of a query's best match.
3. Optimize: by gradient; there is no inner loop.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from fphi.errors import FphiError
from fphi.learnable import LearningAlgorithm, SiameseLearner
from fphi.learnable.comparison.siamese import LearnBy
from fphi.methods.base import Auto, Setting, Usual
from fphi.methods.families.comparing import ComparingEmbeddings
from fphi.methods.table import method
from fphi.networks import KochNet
from fphi.ranges import count, share

__all__ = ["Siamese"]

_FEATURES = 512


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
    are not trained on. Adam takes the place of a momentum for each layer. The paper's own network, of 39
    million parameters, is ``--network koch --image-size 105``.

    Args:
        features: outputs of a linear layer with a sigmoid that follows the embedding network, as in the
            paper; they are what is compared. auto: 512, and no such layer after the network koch, which ends
            in one itself; null: the embedding is compared without one.
        dropout: share of the embedding's values that is set to 0 in training, before that layer.
        learn_by: "verification", the paper's loss over pairs; by "matching", embedding and weights learn to
            rank a query's own class first among all of its task (a softmax), and only how certain of "same" a
            distance makes learns from pairs.
    """

    usual: ClassVar[Usual] = Usual(
        steps=1000,
        meta_batch=1,
        paper="up to 200 epochs of 150,000 pairs in 8 distorted copies: --protocol P-KOCH --network koch "
        "--image-size 105 --steps 100000 --patience 20",
    )
    auto_ways: ClassVar[int | None] = 20
    removed: ClassVar[Mapping[str, object]] = {"koch_net": False}

    features: int | Auto | None = count("auto", 100_000)
    dropout: float = share(0.0)
    learn_by: LearnBy = "verification"

    def learner(self, setting: Setting) -> LearningAlgorithm:
        koch = setting.network is None and self.network == "koch"
        features = self._features(koch)
        if self.dropout > 0 and features is None:
            raise FphiError(
                f"--dropout is {self.dropout}, and there is no layer that it comes before: give --features a "
                "number and another network than koch, or leave --dropout out"
            )
        network = self.embedding(setting)
        if koch:
            # Thousands of features that hardly differ at first: their mean distance is next to nothing.
            return SiameseLearner(network, KochNet.WIDTH, learn_by=self.learn_by, weight=-0.2)
        size = setting.embedding_size(network)
        return SiameseLearner(network, size, features=features, dropout=self.dropout, learn_by=self.learn_by)

    def _features(self, koch: bool) -> int | None:
        """Outputs of the layer after the embedding network; None: there is none."""
        if self.features == "auto":
            return None if koch else _FEATURES
        if koch and self.features is not None:
            raise FphiError(
                f"--features is {self.features}, and the network koch ends in such a layer itself: leave "
                "--features out, or choose another network"
            )
        return self.features
