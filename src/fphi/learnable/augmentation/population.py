"""The policies of Population Based Augmentation: vectors of 60 integers."""

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from fphi.errors import FphiError
from fphi.learnable.augmentation.checking import Fill, checked_fill, make_plain
from fphi.learnable.augmentation.operations import CHANCES, FILL, OPERATIONS
from fphi.learnable.augmentation.policy import AugmentationPolicy, Plan
from fphi.learnable.augmentation.scales import ScaleName
from fphi.ranges import number, require_ranges

__all__ = ["PBA_OPERATIONS", "PBAPolicy"]

PBA_OPERATIONS = (
    *("Rotate", "TranslateX", "TranslateY", "Brightness", "Color", "Invert", "Sharpness", "Posterize"),
    *("ShearX", "Solarize", "ShearY", "Equalize", "AutoContrast", "Cutout", "Contrast"),
)
"""In the order of the published vectors."""

_COPIES = 2
_ENTRIES = _COPIES * len(PBA_OPERATIONS)
_MOST = 2  # operations applied to an image
_ONE, _TWO = 0.2, 0.5  # of a random number: from where on one operation is applied, and two
_PLACES = torch.tensor([tuple(OPERATIONS).index(name) for name in PBA_OPERATIONS * _COPIES])


@dataclass(frozen=True)
class PBAPolicy(AugmentationPolicy):
    """A probability and a magnitude for each of 15 operations, twice.

    Ho, Liang, Stoica, Abbeel, Chen, ICML 2019, arXiv 1905.05393. For each image a count is drawn: 0, 1 or 2
    with probability 0.2, 0.3 and 0.5. The 30 entries are gone through in random order, each fires with its
    probability, until so many have fired.

    Args:
        vector: 60 integers: probabilities in tenths (0 … 10) and magnitudes (0 … 9) in turn.
        fill: see `Policy`.

    Raises:
        FphiError: it is no such vector.
    """

    vector: tuple[int, ...]
    fill: Fill = number(FILL, 0, 255)

    scale: ScaleName = field(default="autoaugment", init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse what is none of its integers."""
        require_ranges(PBAPolicy, {"fill": self.fill})
        checked_fill(self.fill)
        make_plain(self, "fill")
        if not isinstance(self.vector, tuple):
            raise FphiError(
                f"a policy of PBA is a {type(self.vector).__name__}; give a tuple of whole numbers"
            )
        make_plain(self, "vector")
        if len(self.vector) != 2 * _ENTRIES:
            raise FphiError(f"a policy of PBA has {len(self.vector)} numbers; it must have {2 * _ENTRIES}")
        for place, value in enumerate(self.vector):
            most = 9 if place % 2 else 10
            if type(value) is not int or not 0 <= value <= most:
                raise FphiError(
                    f"number {place} of a policy of PBA is {value!r}; it must be a whole one, 0 to {most}"
                )

    @classmethod
    def zero(cls, fill: Fill = FILL) -> "PBAPolicy":
        """That with which every trial begins: nothing is ever changed."""
        return cls((0,) * (2 * _ENTRIES), fill)

    @property
    def numbers(self) -> int:
        return 1 + 2 * _ENTRIES + _MOST * CHANCES

    @cached_property
    def _tables(self) -> tuple[Tensor, Tensor]:
        """Probabilities and magnitudes ``[30]``."""
        pairs = torch.tensor(self.vector, dtype=torch.float64).view(_ENTRIES, 2)
        return pairs[:, 0] / 10, pairs[:, 1]

    def plan(self, chance: Tensor) -> Plan:
        probabilities, magnitudes = self._tables
        first, shuffle, fire, rest = chance.tensor_split([1, 1 + _ENTRIES, 1 + 2 * _ENTRIES], 1)
        count = (first >= _ONE).long() + (first >= _TWO).long()  # [n, 1]
        order = shuffle.argsort(1)
        fired = (fire < probabilities).gather(1, order)
        place = torch.where(fired, fired.cumsum(1), 0)
        steps = torch.arange(1, _MOST + 1)
        # [n, 2, 30]: whether an entry, in its order, is the first or the second to be applied.
        chosen = (place[:, None] == steps[:, None]) & (steps <= count)[..., None]
        entry = order.gather(1, chosen.long().argmax(2))
        operations = torch.where(chosen.any(2), _PLACES[entry], -1)
        return Plan(operations, magnitudes[entry], rest.reshape(len(chance), _MOST, CHANCES))
