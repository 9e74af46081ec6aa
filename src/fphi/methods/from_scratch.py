"""The baseline without meta-learning: random initial parameters, trained on the support set alone.

1. Learnable: nothing across tasks.
2. Loss: none across tasks.
3. Optimize: nothing; what the others gain over this is what they learned to learn.
"""

from dataclasses import dataclass
from typing import ClassVar

from fphi.learnable import GradientLearner
from fphi.learnable.base import LearningAlgorithm
from fphi.methods.base import FewShotMethod, Setting, Usual
from fphi.methods.families.networks import Rate, build_network
from fphi.methods.table import method
from fphi.networks.batch_norm import Mode
from fphi.ranges import count, rate
from fphi.within import adam

__all__ = ["FromScratch"]


@method("from-scratch", paper="baseline")
@dataclass(frozen=True)
class FromScratch(FewShotMethod):
    """Train a randomly initialised network on each task's support set.

    Args:
        inner_lr: Adam's learning rate; null: 0.001, in regression 0.01.
        inner_steps: full-batch steps on the support set.
        network: the network that is trained, one of conv4-pool, conv4-stride, conv4-stride-mean, conv5, mlp,
            koch.
        norm: source of the batch-norm statistics.
    """

    usual: ClassVar[Usual] = Usual(steps=1, meta_batch=1, paper="nothing is learned across tasks")

    usual_inner_lr: ClassVar[Rate] = Rate(classification=1e-3, regression=1e-2)

    inner_lr: float | None = rate(None)
    inner_steps: int = count(50, 100_000, least=0)
    network: str = "conv4-pool"
    norm: Mode = "query-batch"

    def learner(self, setting: Setting) -> LearningAlgorithm:
        network = build_network(self.network, setting, self.norm)
        rate = self.usual_inner_lr.of(setting) if self.inner_lr is None else self.inner_lr
        return GradientLearner(network, adam(rate), self.inner_steps, order=1, loss=setting.loss)

    def optimizer(self, learner: LearningAlgorithm) -> None:
        return None
