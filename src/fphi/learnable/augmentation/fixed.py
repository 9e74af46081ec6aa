"""Policies without a search, which every searched one has to beat: RandAugment and TrivialAugment."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from fphi.learnable.augmentation.checking import Fill, checked_fill, make_plain
from fphi.learnable.augmentation.operations import CHANCES, FILL, OPERATIONS
from fphi.learnable.augmentation.policy import AugmentationPolicy, Plan
from fphi.learnable.augmentation.scales import ScaleName, scale_of
from fphi.ranges import count, number, require_ranges

__all__ = ["EVERYDAY", "RandAugment", "TrivialAugment"]

EVERYDAY = (
    *("Identity", "AutoContrast", "Equalize", "Rotate", "Solarize", "Color", "Posterize", "Contrast"),
    *("Brightness", "Sharpness", "ShearX", "ShearY", "TranslateX", "TranslateY"),
)
"""The 14 operations of both papers."""

_PLACES = torch.tensor([tuple(OPERATIONS).index(name) for name in EVERYDAY])


def _drawn(chance: Tensor) -> Tensor:
    """One of the operations for each number, every one equally likely."""
    return _PLACES[(chance * len(EVERYDAY)).long().clamp(max=len(EVERYDAY) - 1)]


@dataclass(frozen=True)
class RandAugment(AugmentationPolicy):
    """``count`` operations at random for each image, all with one magnitude.

    Cubuk, Zoph, Shlens, Le, NeurIPS 2020, arXiv 1909.13719. An operation may be drawn twice.

    Args:
        count: N, operations applied to an image.
        magnitude: M, 0 … 10 on AutoAugment's scale.
        fill: see `Policy`.

    Raises:
        FphiError: an argument is out of its range.
    """

    count: int = count(2, 16)
    magnitude: float = number(5.0, 0, 10)
    fill: Fill = number(FILL, 0, 255)

    scale: ScaleName = field(default="autoaugment", init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse what is out of range."""
        require_ranges(RandAugment, vars(self))
        checked_fill(self.fill)
        make_plain(self, "count", "magnitude", "fill")

    @property
    def numbers(self) -> int:
        return self.count * (1 + CHANCES)

    def plan(self, chance: Tensor) -> Plan:
        operations = _drawn(chance[:, : self.count])
        rest = chance[:, self.count :].reshape(len(chance), self.count, CHANCES)
        return Plan(
            operations, torch.full(operations.shape, float(self.magnitude), dtype=torch.float64), rest
        )


@dataclass(frozen=True)
class TrivialAugment(AugmentationPolicy):
    """One operation at random for each image, with a magnitude at random.

    Müller, Hutter, ICCV 2021, arXiv 2103.10158. The magnitude is one of 31, equally likely.

    Args:
        scale: "wide" ranges, as in the paper's best version, or "autoaugment".
        fill: see `Policy`.

    Raises:
        FphiError: an argument is out of its range.
    """

    scale: ScaleName = "wide"
    fill: Fill = number(FILL, 0, 255)

    def __post_init__(self) -> None:
        """Refuse what is out of range."""
        require_ranges(TrivialAugment, vars(self))
        checked_fill(self.fill)
        make_plain(self, "fill")

    @property
    def numbers(self) -> int:
        return 2 + CHANCES

    def plan(self, chance: Tensor) -> Plan:
        strength = (chance[:, 1:2] * _STRENGTHS).floor().clamp(max=_STRENGTHS - 1) / (_STRENGTHS - 1)
        return Plan(_drawn(chance[:, :1]), strength * scale_of(self.scale).most, chance[:, None, 2:])


_STRENGTHS = 31
