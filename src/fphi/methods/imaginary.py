"""Imaginary data: a generator adds examples to the support set, of use to the learner and nothing else.

1. Learnable: the embedding network, the generator, and what the learner by comparison has besides.
2. Loss: that of the learner on the real queries, after it has seen real and imagined examples.
3. Optimize: by gradient, end to end; there is no inner loop.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from fphi.learnable import (
    ComparisonLearner,
    FullContext,
    Generator,
    ImaginaryLearner,
    LearningAlgorithm,
    MatchingLearner,
    PrototypicalLearner,
)
from fphi.methods.base import Setting, Usual
from fphi.methods.families.comparing import ComparingEmbeddings
from fphi.methods.table import method
from fphi.ranges import count
from fphi.tasks.episodes import TrainingTasks

__all__ = ["Imaginary"]


@method(
    "imaginary",
    paper="Wang, Girshick, Hebert, Hariharan: Low-Shot Learning from Imaginary Data, CVPR 2018",
    arxiv="1801.05401",
)
@dataclass(frozen=True)
class Imaginary(ComparingEmbeddings):
    """Learn to imagine more examples of a class than there are.

    Args:
        taught: the learner that is given the imagined examples.
        generated: imagined examples of each class.
    """

    usual: ClassVar[Usual] = Usual(
        steps=400, meta_batch=1, paper="the paper's is for features of ImageNet, not for drawings"
    )

    taught: Literal["prototypical", "matching", "prototype-matching"] = "prototypical"
    generated: int = count(5, 10_000, least=0)

    def learner(self, setting: Setting) -> LearningAlgorithm:
        network = self.embedding(setting)
        width = setting.embedding_size(network)
        learner: ComparisonLearner
        if self.taught == "prototypical":
            learner = PrototypicalLearner(network)
        elif self.taught == "matching":
            learner = MatchingLearner(network)
        else:
            learner = MatchingLearner(network, context=FullContext(width), prototypes=True)
        return ImaginaryLearner(learner, Generator(width), self.generated)

    def train_tasks(self, ways: int, shots: int) -> TrainingTasks:
        # No LSTM shall find classes by their place.
        return replace(super().train_tasks(ways, shots), order="shuffled")
