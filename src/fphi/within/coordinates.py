"""What learned rules of single coordinates are made of: inputs of one size, and an LSTM cell."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["CoordinateLSTM", "preprocessed"]


def preprocessed(values: Tensor, p: float = 10.0) -> Tensor:
    """Numbers ``[...]`` of any size as two of about one ``[..., 2]``.

    (log|g| / p, sign g) where |g| ≥ e^-p, else (-1, e^p g): Andrychowicz et al. 2016 (arXiv 1606.04474,
    appendix A).

    >>> preprocessed(torch.tensor([1.0, -1e-8])).tolist()
    [[0.0, 1.0], [-1.0, -0.00022026464284863323]]
    """
    size = values.abs()
    large = (size >= math.exp(-p)) & (size > 0)  # e^-p can be 0 in the values' type
    # A logarithm of 0 that is not used would still make the derivative nan.
    logarithm = torch.where(large, size, 1.0).log() / p
    small, factors = values, math.ceil(p / math.log(torch.finfo(values.dtype).max))
    for _ in range(factors):  # more than one where e^p is infinite in this type, and 0 times it nan
        small = math.exp(p / factors) * small
    return torch.stack((torch.where(large, logarithm, -1.0), torch.where(large, values.sign(), small)), -1)


class CoordinateLSTM(nn.Module):
    """One step of an LSTM, whose weights all coordinates share.

    Args:
        inputs: numbers of a coordinate that it reads.
        hidden: units.
        spread: the weights begin uniform in ±spread; None: in ±1/√hidden.
    """

    def __init__(self, inputs: int, hidden: int, spread: float | None = None) -> None:
        super().__init__()
        bound = hidden**-0.5 if spread is None else spread
        self.hidden = hidden
        # Input, forget and output gate, and candidate.
        self.weight = nn.Parameter(torch.empty(4 * hidden, inputs + hidden).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(4 * hidden).uniform_(-bound, bound))

    def start(self, parameter: Tensor) -> Tensor:
        """The state of each coordinate before the first step ``[..., hidden]``."""
        return parameter.new_zeros((*parameter.shape, self.hidden))

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Output and cell ``[..., hidden]`` after reading ``x: [..., inputs]``."""
        linear = F.linear(torch.cat((x, h), -1), self.weight, self.bias)
        i, f, o = linear[..., : 3 * self.hidden].sigmoid().chunk(3, -1)
        c = f * c + i * linear[..., 3 * self.hidden :].tanh()
        return o * c.tanh(), c
