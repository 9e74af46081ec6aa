"""What learners by comparison and by sequence share: all examples of all tasks are embedded in one pass."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fphi.learnable.base import LearningAlgorithm, Loss, over_network, passes_alone, run_network
from fphi.networks.batch_norm import network_pass
from fphi.ranges import checked
from fphi.within.stand_in import own_parameters
from fphi.within.task_map import Batching, call_network

__all__ = ["EmbeddingLearner", "embedding_size"]


class EmbeddingLearner(LearningAlgorithm):
    """A learning algorithm that sees its examples through an embedding network.

    Args:
        network: ``[n, *input]`` to embeddings ``[n, d]``, or to feature maps ``[n, c, h, w]``.
        loss: scalar loss of one task from answers and labels.
        batching: ``"auto"``, ``"vmap"`` or ``"loop"``, see `TaskMap`.
    """

    @checked()
    def __init__(
        self, network: nn.Module, *, loss: Loss = F.cross_entropy, batching: Batching = "auto"
    ) -> None:
        super().__init__(loss, batching)
        self.network = network

    def embed(self, support_x: Tensor, query_x: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings ``[B, n, d]`` and ``[B, Q, d]`` of ``[B, n, *input]`` and ``[B, Q, *input]``.

        Support and query share one batch, as in the papers' code, and so the batch statistics. Within
        `each_query_alone`, or in mode ``support+1``, the support set is embedded by itself, and each
        query together with it.
        """
        rows = support_x.shape[1]
        if passes_alone(self.network, lambda q: self._embed_together(support_x[:1], q)[:, rows:], query_x):
            queries = run_network(self.over_tasks, self.network, None, support_x, query_x)
            return over_network(self.over_tasks, self.network, None, support_x), queries
        embedded = self._embed_together(support_x, query_x)
        return embedded[:, :rows], embedded[:, rows:]

    def _embed_together(self, support_x: Tensor, query_x: Tensor) -> Tensor:
        with network_pass(support_rows=support_x.shape[1]):
            return over_network(self.over_tasks, self.network, None, torch.cat([support_x, query_x], 1))


@torch.no_grad()
def embedding_size(
    network: nn.Module, input_shape: tuple[int, ...], dtype: torch.dtype = torch.float32
) -> int:
    """d, the length of the network's (flattened) embedding of one example, found by embedding zeros.

    The network and its buffers are afterwards as they were before.

    Args:
        network: ``[n, *input]`` to ``[n, *output]``.
        input_shape: of one example.
        dtype: of an example.

    >>> embedding_size(nn.Conv2d(1, 8, 3), (1, 5, 5))
    72
    """
    zeros = torch.zeros(2, *input_shape, dtype=dtype)
    return call_network(network, own_parameters(network), zeros).flatten(1).shape[1]
