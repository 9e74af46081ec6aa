"""Spaces of augmentation: AutoAugment's, five sub-policies of two operations each."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from fphi.errors import FphiError
from fphi.learnable.augmentation.checking import Fill
from fphi.learnable.augmentation.operations import FILL, NAMES
from fphi.learnable.augmentation.policy import AugmentationPolicy, Policy, Step
from fphi.learnable.augmentation.schedule import Schedule
from fphi.learnable.space import Decision, FixedSpace, Space, Tokens
from fphi.ranges import count

__all__ = ["AugmentationSpace", "PolicySpace"]

_PROBABILITIES, _MAGNITUDES = 11, 10
_QUESTIONS = (("operation", len(NAMES)), ("probability", _PROBABILITIES), ("magnitude", _MAGNITUDES))


class AugmentationSpace(Space):
    """A set of ways to augment training images."""

    @abstractmethod
    def augmentation(
        self, chosen: Sequence[Tokens], spans: Sequence[int] = (), fill: Fill = FILL
    ) -> AugmentationPolicy | Schedule:
        """What candidates make together: policies that are joined, or that follow one another.

        Args:
            chosen: at least one.
            spans: the epochs of each, where they follow one another.
            fill: see `Policy`.

        Raises:
            FphiError: the tokens are none of this space.
        """


@dataclass(frozen=True)
class PolicySpace(FixedSpace, AugmentationSpace):
    """Augmentation policies (Cubuk et al., CVPR 2019, arXiv 1805.09501), by default 2.9e32 of them.

    Each operation is one of 16, with one of 11 probabilities (0 … 1) and one of 10 magnitudes (0 … 9). To a
    controller these are 30 questions of three names.

    Args:
        sub_policies: of a policy.
        length: operations of a sub-policy.
    """

    name: ClassVar[str] = "autoaugment"

    sub_policies: int = count(5, 100)
    length: int = count(2, 10)

    @property
    def decisions(self) -> tuple[Decision, ...]:
        return self._decisions

    @cached_property
    def _decisions(self) -> tuple[Decision, ...]:
        parts = range(self.sub_policies * self.length)
        return tuple(Decision(name, choices, part) for part in parts for name, choices in _QUESTIONS)

    def text(self, tokens: Tokens) -> str:
        """Sub-policies in a row, with the probability and magnitude of each operation.

        >>> PolicySpace(sub_policies=2).text((4, 7, 2, 2, 3, 9, 6, 10, 0, 7, 0, 1))
        'Rotate 0.7 2 + TranslateX 0.3 9 | Invert 1.0 0 + Equalize 0.0 1'
        """
        steps = [f"{NAMES[a]} {b / 10:.1f} {c}" for a, b, c in self._triples(tokens)]
        rows = [steps[i : i + self.length] for i in range(0, len(steps), self.length)]
        return " | ".join(" + ".join(row) for row in rows)

    def parse(self, text: str) -> Tokens:
        tokens: list[int] = []
        rows = [row.split(" + ") for row in text.split(" | ")]
        try:
            if [len(row) for row in rows] != [self.length] * self.sub_policies:
                raise ValueError
            for operation, probability, magnitude in (step.split(" ") for row in rows for step in row):
                tokens += NAMES.index(operation), _TENTHS.index(probability), _DIGITS.index(magnitude)
        except ValueError:
            raise FphiError(
                f"{text!r} is no policy of {self.sub_policies} x {self.length} operations; write each as "
                "'Rotate 0.7 2', with ' + ' between those of a sub-policy and ' | ' between sub-policies"
            ) from None
        return self.check(tokens)

    def augmentation(self, chosen: Sequence[Tokens], spans: Sequence[int] = (), fill: Fill = FILL) -> Policy:
        """The policy with the sub-policies of all."""
        rows = tuple(row for tokens in chosen for row in self.policy(tokens).sub_policies)
        return Policy(rows, fill=fill)

    def policy(self, tokens: Tokens, fill: Fill = FILL) -> Policy:
        """The policy itself.

        Raises:
            FphiError: the tokens are none of this space.
        """
        steps = [Step(NAMES[a], b / 10, c) for a, b, c in self._triples(self.check(tokens))]
        rows = tuple(tuple(steps[i : i + self.length]) for i in range(0, len(steps), self.length))
        return Policy(rows, fill=fill)

    def _triples(self, tokens: Tokens) -> list[tuple[int, int, int]]:
        return [(tokens[i], tokens[i + 1], tokens[i + 2]) for i in range(0, len(tokens), 3)]


_TENTHS = tuple(f"{tenth / 10:.1f}" for tenth in range(_PROBABILITIES))
_DIGITS = tuple(map(str, range(_MAGNITUDES)))
