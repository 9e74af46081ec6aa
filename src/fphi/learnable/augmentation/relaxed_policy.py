"""φ of DADA: a policy whose choices have probabilities, and these a derivative.

Li, Hu, Wang, Hospedales, Robertson, Yang, ECCV 2020, arXiv 2003.03780.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.learnable.augmentation.checking import Fill, checked_fill
from fphi.learnable.augmentation.dada_space import PAIRS
from fphi.learnable.augmentation.operations import CHANCES, FILL, OPERATIONS, augmented
from fphi.learnable.relaxed import Draw, one_of, switches
from fphi.learnable.space import Tokens
from fphi.within import Parameters

__all__ = ["RelaxedPolicy", "Sample"]

_ORDER = tuple(OPERATIONS)
_LEAST = 1e-3  # of a probability, and from 1: what never fires, or always, could not be learned from


@dataclass(frozen=True)
class Sample:
    """One sub-policy and which of its operations fire, drawn for a whole minibatch.

    Args:
        pair: the sub-policy's number, drawn by probabilities over all.
        switches: of every operation of every sub-policy ``[pairs, 2]``, though only those of one count.
    """

    pair: Draw
    switches: Draw

    @property
    def number(self) -> int:
        """Of the sub-policy."""
        return int(self.pair.choice)

    @property
    def fires(self) -> Tensor:
        """Which of its operations do, ``[2]``."""
        return self.switches.choice[self.number]

    @property
    def log_probability(self) -> Tensor:
        """Of everything that was drawn together, a scalar."""
        return self.pair.log_probability + self.switches.log_probability.sum()

    def soft(self, temperature: float) -> tuple[Tensor, Tensor]:
        """What a control variate is given: z and z̃, brought to 0 … 1, ``[3 pairs]`` each."""
        kinds = (
            (self.switches.relaxed, self.pair.relaxed),
            (self.switches.conditional, self.pair.conditional),
        )
        one, other = (
            torch.cat([(on / temperature).sigmoid().flatten(), (pair / temperature).softmax(-1)])
            for on, pair in kinds
        )
        return one, other


class RelaxedPolicy(nn.Module):
    """Sub-policies of two operations each, on the scale "fast".

    Its parameters are the logits of the sub-policies ``[pairs]``, and the probabilities and magnitudes of
    their operations ``[pairs, 2]``, which begin at 0.5: there, most operations change nothing.

    Args:
        pairs: the operations of each sub-policy; DADA's are all 105 pairs of 15.
        seed: of the logits' first values.
        spread: their standard deviation.
        fill: see `fphi.learnable.augmentation.Policy`.

    Raises:
        FphiError: there is no sub-policy, or no such operation.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[str, str]] = PAIRS,
        seed: int = 0,
        spread: float = 1e-3,
        fill: Fill = FILL,
    ) -> None:
        super().__init__()
        unknown = [name for pair in pairs for name in pair if name not in OPERATIONS]
        if unknown or not pairs:
            found = f"there is no operation {unknown[0]!r}" if unknown else "there are no pairs of operations"
            raise FphiError(f"{found}; choose of {', '.join(OPERATIONS)}")
        self.pairs, self.fill = tuple(pairs), checked_fill(fill)
        self._places = torch.tensor([[_ORDER.index(name) for name in pair] for pair in self.pairs])
        self._strong = torch.tensor([[OPERATIONS[a].has_magnitude for a in pair] for pair in self.pairs])
        normal = torch.randn(len(self.pairs), generator=torch.Generator().manual_seed(seed))
        self.logits = nn.Parameter(spread * normal)
        self.probabilities = nn.Parameter(torch.full((len(self.pairs), 2), 0.5))
        self.magnitudes = nn.Parameter(torch.full((len(self.pairs), 2), 0.5))

    def drawn_by(self) -> Parameters:
        """What the choices are drawn by: all parameters but the magnitudes."""
        return {"logits": self.logits, "probabilities": self.probabilities}

    def counted(self, gradient: Parameters, sample: Sample) -> Parameters:
        """A gradient by what was drawn, without that in the probabilities of sub-policies that were not.

        Those had no part in anything. Given the sub-policy, an estimate by RELAX in its own probabilities has
        the right mean, and what it gives for the others is noise of mean 0.
        """
        own = torch.zeros_like(self.probabilities)
        own[sample.number] = 1
        return {**gradient, "probabilities": gradient["probabilities"] * own}

    def draw(self, generator: torch.Generator | None = None) -> Sample:
        """A sub-policy, and which operations fire."""
        count = len(self.pairs)
        u, v = torch.rand(2, 3 * count, dtype=torch.float64, generator=generator)
        return self.sample(u, v)

    def sample(self, u: Tensor, v: Tensor) -> Sample:
        """That of uniform random numbers ``[3 pairs]``; those of the sub-policy come last."""
        shape = self.probabilities.shape
        (on, pair), (on_v, pair_v) = ((x[: -shape[0]].view(shape), x[-shape[0] :]) for x in (u, v))
        return Sample(one_of(self.logits, pair, pair_v), switches(self.probabilities, on, on_v))

    def chance(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Random numbers for the operations on so many images, ``[n, 2, CHANCES]``."""
        return torch.rand(count, 2, CHANCES, dtype=torch.float64, generator=generator)

    def change(self, images: Tensor, sample: Sample, chance: Tensor) -> Tensor:
        """The images ``[n, C, H, W]`` of 0 … 1 after what a sample does; it has no derivative."""
        places = torch.where(sample.fires, self._places[sample.number], -1).expand(len(images), 2)
        strengths = self.magnitudes[sample.number].detach().double().cpu().expand(len(images), 2)
        return augmented(images, places, strengths, chance, scale="fast", fill=self.fill)

    def straight_through(self, images: Tensor, sample: Sample, magnitudes: Tensor) -> Tensor:
        """Changed images with a derivative, 1 everywhere, by each magnitude that has changed them.

        Args:
            images: what the network is given.
            sample: what has changed them.
            magnitudes: of its two operations, ``[2]``. Where an operation has none (Invert, say) it has
                changed nothing, and the derivative is 0.
        """
        counts = sample.fires & self._strong[sample.number]
        through = (magnitudes - magnitudes.detach()) * counts
        return images + through.sum()

    @torch.no_grad()
    def restrict(self) -> None:
        """Bring probabilities and magnitudes back to their ranges after a step."""
        self.probabilities.clamp_(_LEAST, 1 - _LEAST)
        self.magnitudes.clamp_(0, 1)

    @torch.no_grad()
    def entropy(self) -> float:
        """Of the sub-policy: the log of their number, down to 0 once one is drawn always."""
        p = self.logits.double().softmax(0)
        return float(-torch.special.xlogy(p, p).sum())

    @torch.no_grad()
    def derive(self, sub_policies: int = 25) -> Tokens:
        """The heaviest sub-policies, as tokens of `DadaSpace` if the pairs are its own."""
        order = self.logits.argsort(descending=True, stable=True)[:sub_policies]
        numbers = torch.stack([self.probabilities, self.magnitudes], -1)[order].flatten(1)  # p, m, p, m
        thousandths = (1000 * numbers.double()).round().long()
        return tuple(torch.cat([order[:, None], thousandths], 1).flatten().tolist())
