"""Choices drawn from probabilities, each with relaxed forms that have a derivative by the probabilities.

What the estimators REBAR and RELAX (Grathwohl et al., ICLR 2018, arXiv 1711.00123) are made of. With uniform
random numbers u and v, a choice b is a function of a relaxed z(u); z̃(v) is distributed as z is once b is
known. Both are computed in double precision, whatever the probabilities are.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["ControlVariate", "Draw", "one_of", "switches"]

# Random numbers keep this distance from 0 and 1: their logarithms are finite, and z̃ never ties with b's.
_FLOOR = 1e-12

_SHARE = 0.1  # of the newest value in their mean


@dataclass(frozen=True)
class Draw:
    """Choices, and what is known of them; all but ``choice`` are attached to the graph of the probabilities.

    Args:
        choice: b, without a derivative.
        relaxed: z, of which b is a function.
        conditional: z̃, drawn as z is among those that give b.
        log_probability: of each single choice.
    """

    choice: Tensor
    relaxed: Tensor
    conditional: Tensor
    log_probability: Tensor


def switches(probability: Tensor, u: Tensor, v: Tensor) -> Draw:
    """Independent Bernoulli choices b, each on with its probability θ; z > 0 where b is on, and so z̃.

    Args:
        probability: θ, of any shape; the derivative is 0 for what is outside 0 … 1.
        u: uniform random numbers, of the same shape.
        v: others, independent of them.

    >>> draw = switches(torch.tensor([0.2, 0.7]), torch.tensor([0.7, 0.4]), torch.tensor([0.5, 0.5]))
    >>> draw.choice
    tensor([False,  True])
    """
    on, u, v = (_inside(x) for x in (probability, u, v))
    off = 1 - on
    relaxed = on.log() - off.log() + u.log() - (-u).log1p()
    choice = relaxed.detach() > 0
    # logit θ + logit v', where v' is v brought to the part of 0 … 1 that gives b; so written, its sign is
    # exact.
    above, below = (v / ((1 - v) * off)).log1p(), -((1 - v) / (v * on)).log1p()
    return Draw(choice, relaxed, torch.where(choice, above, below), torch.where(choice, on.log(), off.log()))


def one_of(logits: Tensor, u: Tensor, v: Tensor) -> Draw:
    """A categorical choice b, the place of the largest z, which is that of the largest z̃ too.

    Args:
        logits: ``[..., k]``; b and its log-probability are ``[...]``, z and z̃ ``[..., k]``.
        u: uniform random numbers ``[..., k]``.
        v: others, independent of them.
    """
    u, v = _inside(u), _inside(v)
    log_p = logits.double().log_softmax(-1)
    relaxed = log_p - (-u.log()).log()
    choice = relaxed.detach().argmax(-1, keepdim=True)
    waits = (-v.log()).log()  # log(-log v)
    least = waits.gather(-1, choice)
    others = torch.logaddexp(waits - log_p, least)
    conditional = -torch.scatter(others, -1, choice, least)
    return Draw(choice[..., 0], relaxed, conditional, log_p.gather(-1, choice)[..., 0])


class ControlVariate(nn.Module):
    """c of relaxed choices, a network with one hidden layer, ``[..., inputs]`` to ``[...]``.

    It begins as 0 everywhere, where RELAX is REINFORCE: it has no variance of its own before it has learned.
    It follows values that are divided by `unit`, so that its rate suits values of any size.

    Args:
        inputs: numbers that the choices are relaxed to, each in 0 … 1.
        hidden: units, of tanh (DADA: 100).
    """

    mean: Tensor
    seen: Tensor

    def __init__(self, inputs: int, hidden: int = 100) -> None:
        super().__init__()
        self.hidden, self.output = nn.Linear(inputs, hidden), nn.Linear(hidden, 1)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)
        # The mean logarithm of the sizes of the last ten values or so, and how much of a mean that is.
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, soft: Tensor) -> Tensor:
        hidden: Tensor = self.hidden(2 * soft.to(self.hidden.weight.dtype) - 1)
        answer: Tensor = self.output(hidden.tanh())
        return answer[..., 0]

    @property
    def unit(self) -> Tensor:
        """The geometric mean of the sizes of recent values; 1 before the first.

        Sizes may fall by orders of magnitude in the course of a training: a c of the old size would be
        nothing but noise, one that is too small does no harm.
        """
        return (self.mean / self.seen.clamp(min=_SHARE)).exp()

    @torch.no_grad()
    def watch(self, value: Tensor) -> None:
        """Note a value f(b), a scalar, after its estimate: the unit must not depend on what it measures."""
        if value != 0:
            self.mean.lerp_(value.detach().abs().log().to(self.mean.dtype), _SHARE)
            self.seen.lerp_(torch.ones_like(self.seen), _SHARE)


def _inside(numbers: Tensor) -> Tensor:
    return numbers.double().clamp(_FLOOR, 1 - _FLOOR)
