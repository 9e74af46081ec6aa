"""The space that DADA searches: 25 of 105 pairs of operations, each with probabilities and magnitudes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import ClassVar

from fphi.errors import FphiError
from fphi.learnable.augmentation.checking import Fill
from fphi.learnable.augmentation.operations import FILL, NAMES
from fphi.learnable.augmentation.policy import Policy, Step
from fphi.learnable.augmentation.space import AugmentationSpace
from fphi.learnable.space import Decision, FixedSpace, Tokens
from fphi.ranges import count

__all__ = ["PAIRS", "DadaSpace"]

PAIRS = tuple(combinations(NAMES[:15], 2))
"""Two different ones of Fast AutoAugment's 15 operations: AutoAugment's without SamplePairing."""

_PARTS = 1001  # a probability and a magnitude are in thousandths
_QUESTIONS = (
    ("pair", len(PAIRS)), ("probability", _PARTS), ("magnitude", _PARTS), ("probability", _PARTS),
    ("magnitude", _PARTS),
)  # fmt: skip
_WIDTH = len(_QUESTIONS)


@dataclass(frozen=True)
class DadaSpace(FixedSpace, AugmentationSpace):
    """Augmentation policies of DADA (Li et al., ECCV 2020, arXiv 2003.03780), on the scale "fast".

    A sub-policy is one of 105 pairs of operations, each operation with a probability and a magnitude of
    0 … 1, in thousandths.

    Args:
        sub_policies: of a policy.
    """

    name: ClassVar[str] = "dada"

    sub_policies: int = count(25, len(PAIRS))

    @property
    def decisions(self) -> tuple[Decision, ...]:
        return self._decisions

    @cached_property
    def _decisions(self) -> tuple[Decision, ...]:
        parts = range(self.sub_policies)
        return tuple(Decision(name, choices, part) for part in parts for name, choices in _QUESTIONS)

    def text(self, tokens: Tokens) -> str:
        """Sub-policies in a row, with the probability and magnitude of each operation.

        >>> DadaSpace(sub_policies=1).text((1, 500, 250, 1000, 0))
        'ShearX 0.500 0.250 + TranslateX 1.000 0.000'
        """
        rows = []
        for pair, *numbers in _rows(tokens):
            first, second = PAIRS[pair]
            p, m, q, n = (f"{number / 1000:.3f}" for number in numbers)
            rows.append(f"{first} {p} {m} + {second} {q} {n}")
        return " | ".join(rows)

    def parse(self, text: str) -> Tokens:
        tokens: list[int] = []
        rows = [row.split(" + ") for row in text.split(" | ")]
        try:
            if len(rows) != self.sub_policies:
                raise ValueError
            for row in rows:
                (first, p, m), (second, q, n) = (step.split(" ") for step in row)
                tokens += PAIRS.index((first, second)), *(_THOUSANDTHS.index(x) for x in (p, m, q, n))
        except ValueError:
            raise FphiError(
                f"{text!r} is no policy of {self.sub_policies} pairs of operations; write each as "
                "'ShearX 0.500 0.250 + Invert 1.000 0.000', with ' | ' between pairs, and the operations of "
                f"a pair in the order of {', '.join(NAMES[:15])}"
            ) from None
        return self.check(tokens)

    def augmentation(self, chosen: Sequence[Tokens], spans: Sequence[int] = (), fill: Fill = FILL) -> Policy:
        """The policy with the sub-policies of all."""
        rows = tuple(row for tokens in chosen for row in self.policy(tokens).sub_policies)
        return Policy(rows, "fast", fill)

    def policy(self, tokens: Tokens, fill: Fill = FILL) -> Policy:
        """The policy itself.

        Raises:
            FphiError: the tokens are none of this space.
        """
        rows = []
        for pair, *numbers in _rows(self.check(tokens)):
            first, second = PAIRS[pair]
            p, m, q, n = (number / 1000 for number in numbers)
            rows.append((Step(first, p, m), Step(second, q, n)))
        return Policy(tuple(rows), "fast", fill)


def _rows(tokens: Tokens) -> list[Tokens]:
    return [tokens[i : i + _WIDTH] for i in range(0, len(tokens), _WIDTH)]


_THOUSANDTHS = tuple(f"{part / 1000:.3f}" for part in range(_PARTS))
