"""Metric learning: an embedding in which a class is close together, by the loss of one's choice.

1. Learnable: an embedding network, whose outputs are put on the unit sphere.
2. Loss: contrastive, triplet, or a softmax of cosines with a margin (AM-Softmax, ArcFace, SphereFace).
3. Optimize: by gradient; there is no inner loop.
"""

from dataclasses import dataclass
from typing import ClassVar

from fphi.learnable import LearningAlgorithm, MetricLearner
from fphi.learnable.comparison.metric import MetricLoss
from fphi.methods.base import Setting, Usual
from fphi.methods.families.comparing import ComparingEmbeddings
from fphi.methods.table import method
from fphi.ranges import number, weight

__all__ = ["Metric"]


@method(
    "metric",
    paper="Schroff, Kalenichenko, Philbin: FaceNet, CVPR 2015; Deng, Guo, Xue, Zafeiriou: ArcFace, CVPR 2019",
    arxiv="1503.03832",
)
@dataclass(frozen=True)
class Metric(ComparingEmbeddings):
    """The nearest class mean answers, by the cosine.

    Args:
        metric_loss: what shapes the embedding.
        margin: of that loss; the usual one if not given (0.2 triplet, 1 contrastive, 0.35 additive-margin,
            0.5 radian arcface, the factor 4 sphereface).
        scale: of the cosines, where there is a softmax.
    """

    usual: ClassVar[Usual] = Usual(
        steps=250, meta_batch=1, paper="the papers' are for millions of faces, not for few-shot tasks"
    )

    metric_loss: MetricLoss = "triplet"
    margin: float | None = weight(None, 1000)
    scale: float = number(16.0, 0, 1e6, open=True)

    def learner(self, setting: Setting) -> LearningAlgorithm:
        return MetricLearner(
            self.embedding(setting), metric_loss=self.metric_loss, margin=self.margin, scale=self.scale
        )
