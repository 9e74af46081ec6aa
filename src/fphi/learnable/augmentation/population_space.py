"""The space of Population Based Augmentation: vectors of 60 integers, of which a schedule is made."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import ClassVar

from fphi.errors import FphiError
from fphi.learnable.augmentation.checking import Fill
from fphi.learnable.augmentation.operations import FILL
from fphi.learnable.augmentation.population import PBA_OPERATIONS, PBAPolicy
from fphi.learnable.augmentation.schedule import Schedule
from fphi.learnable.augmentation.space import AugmentationSpace
from fphi.learnable.space import Decision, FixedSpace, Tokens

__all__ = ["PBASpace"]

_COUNT = len(PBA_OPERATIONS)
_DECISIONS = tuple(
    Decision(name, choices, part)
    for part in range(2 * _COUNT)
    for name, choices in (("probability", 11), ("magnitude", 10))
)
_NOTHING = "nothing"


@dataclass(frozen=True)
class PBASpace(FixedSpace, AugmentationSpace):
    """Probabilities and magnitudes of 15 operations, twice: see `PBAPolicy`.

    A search begins with the policy that changes nothing, and what it finds is a schedule.
    """

    name: ClassVar[str] = "pba"

    @property
    def decisions(self) -> tuple[Decision, ...]:
        return _DECISIONS

    def start(self, rng: Random) -> Tokens:
        """The policy that changes nothing."""
        return PBAPolicy.zero().vector

    def text(self, tokens: Tokens) -> str:
        """Both copies in a row, without what is 0.

        >>> PBASpace().text((3, 2, *[0] * 28, *[0] * 28, 10, 9))
        'Rotate 0.3 2 | Contrast 1.0 9'
        """
        halves = tokens[: 2 * _COUNT], tokens[2 * _COUNT :]
        return " | ".join(_written(half) for half in halves)

    def parse(self, text: str) -> Tokens:
        tokens: list[int] = []
        try:
            first, second = text.split(" | ")
            for half in (first, second):
                tokens += _read(half)
        except ValueError:
            raise FphiError(
                f"{text!r} is no policy of PBA; write both copies with ' | ' between them, in each the "
                "operations as 'Rotate 0.3 2' with ' + ' between them, or 'nothing'"
            ) from None
        return self.check(tokens)

    def augmentation(
        self, chosen: Sequence[Tokens], spans: Sequence[int] = (), fill: Fill = FILL
    ) -> PBAPolicy | Schedule:
        """The policy of one candidate; of several the schedule, each for its epochs."""
        policies = [PBAPolicy(self.check(tokens), fill) for tokens in chosen]
        return policies[0] if len(policies) == 1 else Schedule(tuple(zip(spans, policies, strict=True)))


def _written(half: Tokens) -> str:
    pairs = zip(PBA_OPERATIONS, half[::2], half[1::2], strict=True)
    steps = [f"{name} {probability / 10:.1f} {magnitude}" for name, probability, magnitude in pairs
             if probability or magnitude]  # fmt: skip
    return " + ".join(steps) or _NOTHING


def _read(half: str) -> list[int]:
    tokens = [0] * (2 * _COUNT)
    for step in [] if half == _NOTHING else half.split(" + "):
        name, probability, magnitude = step.split(" ")
        place = 2 * PBA_OPERATIONS.index(name)
        tokens[place] = _TENTHS.index(probability)
        tokens[place + 1] = _DIGITS.index(magnitude)
    return tokens


_TENTHS = tuple(f"{tenth / 10:.1f}" for tenth in range(11))
_DIGITS = tuple(map(str, range(10)))
