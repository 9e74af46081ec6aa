"""A hypernetwork: one network reads the support set and outputs the weights of the task's model.

1. Learnable: all of F, an embedding network, an encoder of the support set and a decoder of weights.
2. Loss: cross-entropy of the queries, classified with the weights that came out.
3. Optimize: by gradient, end to end; within a task there is no gradient step.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from fphi.learnable import HyperLearner, LearningAlgorithm
from fphi.methods.base import Setting, Usual
from fphi.methods.families.generating import Generating
from fphi.methods.table import method
from fphi.networks import MLP
from fphi.networks.pairs import PairEncoder
from fphi.ranges import count

__all__ = ["Hypernetwork"]


@method("hypernetwork", paper="Ha, Dai, Le: HyperNetworks, ICLR 2017", arxiv="1609.09106")
@dataclass(frozen=True)
class Hypernetwork(Generating):
    """A network that outputs a network: support set in, weights of a classifier out.

    Args:
        codes: size of a class's code, from which its weights are decoded.
        relations: whether an example's code comes from all pairs with the others, as in LEO, or from itself.
        bias: whether a class's bias is generated too.
    """

    usual: ClassVar[Usual] = Usual(steps=400, meta_batch=1, paper="the paper's is not for small tasks")
    codes: int = count(64, 8192)
    relations: bool = True
    bias: bool = True

    def learner(self, setting: Setting) -> LearningAlgorithm:
        network, width, ways = self.sized_embedding(setting)
        encoder: nn.Module = MLP(width, (2 * self.codes,), self.codes)
        if self.relations:
            encoder = PairEncoder(width, self.codes, self.codes)
        decoder = nn.Linear(self.codes, width + self.bias)
        # Weights of the size that a layer of ``width`` inputs and ``ways`` outputs begins with.
        nn.init.normal_(decoder.weight, std=(2 / (width + ways) / self.codes) ** 0.5)
        nn.init.zeros_(decoder.bias)
        return HyperLearner(network, encoder, decoder, normalise=self.normalise)
