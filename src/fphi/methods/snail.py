"""SNAIL: attention and temporal convolutions over the examples and their labels, then the query.

1. Learnable: all of F, an embedding network and the causal network over the sequence.
2. Loss: cross-entropy of each query as the last item after the support set.
3. Optimize: by gradient; there is no inner loop.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from fphi.learnable import LearningAlgorithm, SNAILCore
from fphi.methods.base import Setting, Usual
from fphi.methods.families.sequencing import Sequencing
from fphi.methods.table import method
from fphi.networks.batch_norm import StepFree
from fphi.tasks.episodes import TrainingTasks

__all__ = ["SNAIL"]


@method(
    "snail",
    paper="Mishra, Rohaninejad, Chen, Abbeel: A Simple Neural Attentive Meta-Learner, ICLR 2018",
    arxiv="1707.03141",
)
@dataclass(frozen=True)
class SNAIL(Sequencing):
    """Look back at the labelled examples with attention, from the query as the last of the sequence.

    Its convolutions reach as far as ``ways * shots + 1`` items: other sizes need another training. The
    images are normalised with the statistics of the support set, in training as at test: those of all
    training tasks together fit a single task of few images badly.
    """

    norm: StepFree = "support"
    dropout: float = 0.2

    usual: ClassVar[Usual] = Usual(steps=700, meta_batch=16, paper="the paper does not say")
    bound_to: ClassVar[tuple[Literal["ways", "shots"], ...]] = ("ways", "shots")

    def learner(self, setting: Setting) -> LearningAlgorithm:
        network, size, ways = self.embedding(setting)
        core = SNAILCore(size + ways, ways, length=ways * setting.shots + 1)
        return self.sequence(network, size, core, ways, "given")

    def train_tasks(self, ways: int, shots: int) -> TrainingTasks:
        return TrainingTasks(order="shuffled")
