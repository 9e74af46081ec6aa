"""Rotation prediction: features that tell how an image was turned, learned without any label.

1. Learnable: the features of a network, and a last layer of four outputs, the quarter turns.
2. Loss: cross-entropy of the turns of each training image. No label of a training image is read.
3. Optimize: by gradient. A new task is answered by class means of the features, or by fine-tuning.
"""

from dataclasses import dataclass
from typing import ClassVar

from fphi.learnable import Pretext, TurnPretext
from fphi.methods.base import Setting, Usual
from fphi.methods.families.comparing import require_classes
from fphi.methods.families.pretraining import Pretraining
from fphi.methods.table import method
from fphi.tasks import Minibatches

__all__ = ["Rotation"]


@method(
    "rotation",
    paper="Gidaris, Singh, Komodakis: Unsupervised Representation Learning by Predicting Image Rotations, "
    "ICLR 2018",
    arxiv="1803.07728",
)
@dataclass(frozen=True)
class Rotation(Pretraining):
    """By how many quarters was an image turned? Who can say it has learned what is seen on it.

    Each image of a minibatch is there in its four turns. A protocol's own turns of training images are left
    out: the question would have no answer.
    """

    usual: ClassVar[Usual] = Usual(
        steps=450, meta_batch=1, paper="100 epochs of minibatches of 128 photographs, in four turns each"
    )

    def pretext(self, setting: Setting, width: int) -> Pretext:
        require_classes(self.title, setting)
        return TurnPretext(width)

    def train_tasks(self, ways: int, shots: int) -> Minibatches:
        return Minibatches(size=self.batch_size, turned=False)
