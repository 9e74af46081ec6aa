"""Multi-task training: one network for all training classes at once, as ordinary supervised learning has it.

1. Learnable: the features of a network, and a last layer over all training classes.
2. Loss: cross-entropy of minibatches of all training images. How good φ is now, not after learning from it.
3. Optimize: by gradient. A new task is answered by class means of the features, or by fine-tuning.
"""

from dataclasses import dataclass
from typing import ClassVar

from fphi.errors import FphiError
from fphi.learnable import ClassPretext, Pretext, TargetPretext
from fphi.methods.base import Setting, Usual
from fphi.methods.families.pretraining import Pretraining
from fphi.methods.table import method

__all__ = ["MultiTask"]


@method(
    "multi-task",
    paper="Chen, Liu, Kira, Wang, Huang: A Closer Look at Few-shot Classification, ICLR 2019",
    arxiv="1904.04232",
)
@dataclass(frozen=True)
class MultiTask(Pretraining):
    """Tell all training classes apart, then learn a new task from there: no episode, no inner loop.

    In regression one network answers all tasks, as if they were one: it can only learn what they have in
    common on average.
    """

    usual: ClassVar[Usual] = Usual(
        steps=450,
        meta_batch=1,
        paper="400 epochs of minibatches of 16, tested with --adapt head",
        regression_steps=4000,
    )

    def pretext(self, setting: Setting, width: int) -> Pretext:
        if setting.ways is None:
            return TargetPretext(width, setting.outputs, setting.loss)
        if setting.classes is None:
            raise FphiError(
                f"{self.title} learns one label for each class of all training tasks, and these tasks number "
                "their classes anew: give images, or a fphi.TaskDistribution with pooled_classes"
            )
        return ClassPretext(width, setting.classes)
