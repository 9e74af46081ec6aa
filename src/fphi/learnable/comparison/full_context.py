"""Full context embeddings: an example is embedded in view of the whole support set."""

import torch
from torch import Tensor, nn

from fphi.ranges import Range, checked

__all__ = ["FullContext"]


class FullContext(nn.Module):
    """The FCE of matching networks (Vinyals et al. 2016, arXiv 1606.04080, section 2.1.2 and appendix).

    Support: g = g' + h→ + h←, by a bidirectional LSTM that reads the embeddings g' in their order. Query:
    an LSTM that is fed f' at each of ``reads`` steps, attends to the support set and keeps what it read
    as part of its state: h = h^ + f', r = softmax(h g) g. Every query has a state of its own.

    Args:
        width: of the embeddings.
        reads: steps of the attention LSTM; 0 leaves the queries as they are.
    """

    @checked(reads=Range(0))
    def __init__(self, width: int, reads: int = 5) -> None:
        super().__init__()
        self.reads = reads
        self.support_lstm = nn.LSTM(width, width, bidirectional=True, batch_first=True)
        self.query_lstm = nn.LSTMCell(2 * width, width)

    def forward(self, support: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Of the same shapes: ``support: [B, n, d]``, whose order counts, and ``queries: [B, Q, d]``."""
        forth, back = self.support_lstm(support)[0].chunk(2, dim=-1)
        support = support + forth + back
        return support, self.attend(support, queries)

    def attend(self, support: Tensor, queries: Tensor) -> Tensor:
        """The queries in view of a support set that is embedded in its own: see `forward`."""
        plain = queries.flatten(0, 1)  # [B*Q, d]
        h = cell = read = torch.zeros_like(plain)
        for _ in range(self.reads):
            h, cell = self.query_lstm(torch.cat([plain, read], -1), (h, cell))
            h = h + plain
            per_task = h.view_as(queries)
            read = ((per_task @ support.mT).softmax(-1) @ support).flatten(0, 1)
        return h.view_as(queries) if self.reads else queries
