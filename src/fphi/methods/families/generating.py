"""What the systems that output a classifier have in common: an embedding, and rows for any classes."""

from dataclasses import dataclass

from torch import nn

from fphi.errors import FphiError
from fphi.methods.base import Setting
from fphi.methods.families.comparing import ComparingEmbeddings
from fphi.networks.batch_norm import StepFree

__all__ = ["Generating"]


@dataclass(frozen=True)
class Generating(ComparingEmbeddings):
    """Settings of a system that outputs a linear classifier over embeddings.

    A class's weights come from its own code, as in learning to compare: ways and shots are free, and training
    tasks may have more classes than those at test. The images are normalised with the statistics of the
    support set, in training as at test: so an embedding that stays as it was learned gives the same features
    in both.

    Args:
        normalise: whether embeddings are scaled to length 1.
    """

    norm: StepFree = "support"
    normalise: bool = False

    def sized_embedding(self, setting: Setting) -> tuple[nn.Module, int, int]:
        """The embedding network, the size of what it gives, and the ways at test.

        Raises:
            FphiError: the tasks are regression and have no ways.
        """
        if setting.ways is None:
            raise FphiError(f"{self.title} needs classes, and these tasks have none: choose maml")
        network = self.embedding(setting)
        return network, setting.embedding_size(network), setting.ways
