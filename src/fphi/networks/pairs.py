"""A network over a set: each example is seen beside every other."""

import torch.nn.functional as F
from torch import Tensor, nn

from fphi.ranges import checked

__all__ = ["PairEncoder"]


class PairEncoder(nn.Module):
    """Codes of the examples of a set: the mean of a learned relation to all of them (Rusu et al. 2019).

    ``codeᵢ = meanⱼ r(A xᵢ, A xⱼ)`` with a linear A and three linear layers r with ReLU between them, all
    without bias (arXiv 1807.05960). The order of the examples does not matter.

    Args:
        width: values of an example.
        hidden: outputs of A; the layers of r are twice as wide.
        outputs: values of a code.
    """

    @checked()
    def __init__(self, width: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.each = nn.Linear(width, hidden, bias=False)
        self.pair = nn.Linear(2 * hidden, 2 * hidden, bias=False)
        self.middle = nn.Linear(2 * hidden, 2 * hidden, bias=False)
        self.out = nn.Linear(2 * hidden, outputs, bias=False)
        for layer in (self.each, self.pair, self.middle, self.out):
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, x: Tensor) -> Tensor:
        """``x: [..., n, width]`` to codes ``[..., n, outputs]``."""
        each = self.each(x)
        # What is linear is done once for each example, and not for each pair: a layer of two vectors side by
        # side is a sum of two layers, and the mean over partners may be taken before the last layer.
        of_one, of_other = self.pair.weight.chunk(2, dim=1)
        pairs = F.linear(each, of_one).unsqueeze(-2) + F.linear(each, of_other).unsqueeze(-3)
        code: Tensor = self.out(self.middle(pairs.relu()).relu().mean(-2))
        return code
