"""Fully connected networks: MAML's Omniglot MLP and the small one for sine waves."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from fphi.networks.batch_norm import BatchNorm, Mode
from fphi.ranges import checked

__all__ = ["MLP"]


class MLP(nn.Module):
    """Linear layers with ReLU between them, and batch norm before each ReLU if ``norm`` names a mode.

    ``MLP(784, (256, 128, 64, 64), 5, norm="query-batch")`` is MAML's; ``MLP(1, (40, 40), 1)`` the sine net.
    With ``outputs=None`` it is an embedding network: what it gives are the features before the head.
    """

    @checked()
    def __init__(
        self, inputs: int, hidden: Sequence[int], outputs: int | None, norm: Mode | None = None
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        for a, b in pairwise((inputs, *hidden)):
            layers += [nn.Linear(a, b), *([BatchNorm(b, norm)] if norm else []), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        features = hidden[-1] if hidden else inputs
        self.head = nn.Identity() if outputs is None else nn.Linear(features, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """``x: [n, *input]`` to ``[n, outputs]``, or to features."""
        out: Tensor = self.head(self.body(x))
        return out
