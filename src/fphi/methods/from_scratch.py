"""The baseline without meta-learning: random initial parameters, trained on the support set alone.

1. Learnable: nothing across tasks.
2. Loss: none across tasks.
3. Optimize: nothing; what the others gain over this is what they learned to learn.
"""

from dataclasses import dataclass

from fphi.learnable import GradientLearner
from fphi.learnable.base import LearningAlgorithm
from fphi.methods.registry import Method, NetworkName, Setting, build_network, method
from fphi.networks.batch_norm import Mode
from fphi.within import adam

__all__ = ["FromScratch"]


@method("from-scratch", paper="baseline")
@dataclass(frozen=True)
class FromScratch(Method):
    """Train a randomly initialised network on each task's support set.

    Args:
        inner_lr: Adam's learning rate.
        inner_steps: full-batch steps on the support set.
        network: the network that is trained.
        norm: source of the batch-norm statistics.
    """

    inner_lr: float = 1e-3
    inner_steps: int = 50
    network: NetworkName = "conv4-pool"
    norm: Mode = "query-batch"

    def learner(self, setting: Setting) -> LearningAlgorithm:
        network = build_network(self.network, setting, self.norm).requires_grad_(False)
        return GradientLearner(network, adam(self.inner_lr), self.inner_steps, order=1, loss=setting.loss)

    def optimizer(self, learner: LearningAlgorithm) -> None:
        return None
