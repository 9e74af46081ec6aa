"""A hypernetwork: F is a network whose parameters are φ, and whose output are the parameters of f."""

import torch.nn.functional as F
from torch import Tensor, nn

from fphi.learnable.base import Loss, over_network
from fphi.learnable.comparison.classes import class_means
from fphi.learnable.generation.generating import GeneratingLearner
from fphi.tasks.types import Examples
from fphi.within.task_map import Batching

__all__ = ["HyperLearner"]


class HyperLearner(GeneratingLearner):
    """Reads the support set and puts out a classifier's weights: no gradient step, in training or at test.

    φ = the embedding network, the encoder and the decoder. The code of a class is the mean of its
    examples' codes, and the decoder makes of it the class's row of weights. So classes may be of any
    number, of any shots and in any order. With an encoder and a decoder that are the identity, the
    weights are class means, and a query's answer is its dot product with them.

    Args:
        network: ``[n, *input]`` to embeddings ``[n, d]``, or to feature maps, which are flattened.
        encoder: the embedded support set ``[n, d]`` to codes ``[n, c]``; it may relate examples
            to each other.
        decoder: class codes ``[ways, c]`` to weights ``[ways, d]``, or with a bias ``[ways, d + 1]``.
        normalise: whether embeddings are scaled to length 1.
        loss: scalar loss of one task from logits and labels.
        batching: ``"auto"``, ``"vmap"`` or ``"loop"``, see `TaskMap`.
    """

    def __init__(
        self,
        network: nn.Module,
        encoder: nn.Module,
        decoder: nn.Module,
        *,
        normalise: bool = False,
        loss: Loss = F.cross_entropy,
        batching: Batching = "auto",
    ) -> None:
        super().__init__(network, normalise=normalise, loss=loss, batching=batching)
        self.encoder, self.decoder = encoder, decoder

    def generate(self, support: Examples) -> Tensor:
        codes = over_network(self.over_tasks, self.encoder, None, support.x)
        return over_network(self.over_tasks, self.decoder, None, class_means(codes, support.y))
