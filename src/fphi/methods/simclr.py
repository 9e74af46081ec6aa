"""SimCLR: features by which two distorted copies of one image find each other, learned without any label.

1. Learnable: the features of a network, and a projection of them, which is left out afterwards.
2. Loss: the cross-entropy of an image's other copy among all copies of a minibatch (NT-Xent). No label of a
   training image is read.
3. Optimize: by gradient. A new task is answered by class means of the features, or by fine-tuning.
"""

from dataclasses import dataclass
from typing import ClassVar

from fphi.errors import FphiError
from fphi.learnable import Pretext, ViewPretext
from fphi.methods.base import Setting, Usual
from fphi.methods.families.comparing import require_classes
from fphi.methods.families.pretraining import Pretraining
from fphi.methods.table import method
from fphi.ranges import count, number
from fphi.tasks import Distortion, Minibatches

__all__ = ["SimCLR"]


@method(
    "simclr",
    paper="Chen, Kornblith, Norouzi, Hinton: A Simple Framework for Contrastive Learning of Visual "
    "Representations, ICML 2020",
    arxiv="2002.05709",
)
@dataclass(frozen=True)
class SimCLR(Pretraining):
    """Which of all these is the other copy of this image? Who can say it knows what a distortion leaves.

    The distortions are those of drawings and small images (turns by a few degrees, shears, scales, shifts,
    bends), not the crops and colours that the paper has for photographs.

    Args:
        views: how each of the two copies is distorted, as for --train-distortion.
        temperature: by which the cosines of copies are divided.
        projected: size of the projection.
    """

    usual: ClassVar[Usual] = Usual(
        steps=450, meta_batch=1, paper="100 epochs or more of minibatches of 4096 photographs"
    )

    views: Distortion = "elastic"
    temperature: float = number(0.5, 0, 1e3, open=True)
    projected: int = count(64, 100_000)

    def pretext(self, setting: Setting, width: int) -> Pretext:
        require_classes(self.title, setting)
        if setting.classes is None:
            raise FphiError(f"{self.title} needs two views of each image, which these tasks do not make")
        return ViewPretext(width, self.projected, self.temperature)

    def train_tasks(self, ways: int, shots: int) -> Minibatches:
        return Minibatches(size=self.batch_size, views=self.views)
