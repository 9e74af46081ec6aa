"""How strong a magnitude is: the amount of each operation on the three scales of the literature.

"autoaugment" is that of AutoAugment and PBA, with magnitudes 0 … 10; "fast" that of Fast AutoAugment
(arXiv 1905.00397) and DADA, 0 … 1; "wide" that of TrivialAugment's wide ranges, 0 … 1. Their neutral
magnitudes differ: a shift of 0 is magnitude 0 on the first and the last, and 0.5 on "fast".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import copysign
from types import MappingProxyType
from typing import Literal, get_args

import torch
from torch import Tensor

from fphi.errors import FphiError

__all__ = ["SCALES", "Amount", "Scale", "ScaleName", "scale_of"]

ScaleName = Literal["autoaugment", "fast", "wide"]


@dataclass(frozen=True)
class Amount:
    """From a magnitude to an amount: ``least`` + ``span`` · magnitude / largest magnitude.

    Args:
        least: at magnitude 0.
        span: what the largest magnitude adds to it.
        whole: how that is made a whole number: "cut" off after the point, "near", or "" for not at all.
        share: whether it is a share of the image's width (of TranslateY: height), not a number of pixels.
        neutral: the magnitude that changes nothing; None: there is none.
    """

    least: float
    span: float
    whole: Literal["", "cut", "near"] = ""
    share: bool = False
    neutral: float | None = None

    def at(self, part: Tensor, side: int) -> Tensor:
        """The amounts ``[n]`` at magnitudes that are such parts of the largest."""
        more = self.span * part
        if self.whole:
            # What the sum is short of a whole number by rounding is none less.
            slack = max(1e-9, 4 * torch.finfo(more.dtype).eps * abs(self.span))
            more = (more + copysign(slack, self.span)).trunc() if self.whole == "cut" else more.round()
        found = self.least + more
        return found * side if self.share else found


def _amounts(
    shear: Amount, translate: Amount, rotate: Amount, solarize: Amount, posterize: Amount, blend: Amount,
    cutout: Amount, pairing: Amount,
) -> dict[str, Amount]:  # fmt: skip
    return {
        **dict.fromkeys(("ShearX", "ShearY"), shear),
        **dict.fromkeys(("TranslateX", "TranslateY"), translate),
        **dict.fromkeys(("Color", "Contrast", "Brightness", "Sharpness"), blend),
        "Rotate": rotate,
        "Solarize": solarize,
        "Posterize": posterize,
        "Cutout": cutout,
        "SamplePairing": pairing,
    }


@dataclass(frozen=True)
class Scale:
    """The amounts of all operations that have one; ``most`` is the largest magnitude, and 0 the least."""

    most: float
    amounts: Mapping[str, Amount]

    def at(self, operation: str, magnitudes: Tensor, side: tuple[int, int]) -> Tensor:
        """The amounts of an operation at magnitudes ``[n]``, for images of that height and width.

        They are a shear, pixels, degrees, a threshold of 0 … 256, bits, a factor of what sets the image apart
        from its plain form, the side of a square, or the weight of another image; geometric ones without the
        random sign.
        """
        amount = self.amounts.get(operation)
        if amount is None:
            return magnitudes
        return amount.at(magnitudes / self.most, side[0 if operation == "TranslateY" else 1])

    def neutral(self, operation: str) -> float | None:
        """The magnitude at which an operation changes nothing; None: there is none."""
        amount = self.amounts.get(operation)
        return None if amount is None else amount.neutral


SCALES: Mapping[ScaleName, Scale] = MappingProxyType(
    {
        "autoaugment": Scale(
            10,
            _amounts(
                shear=Amount(0, 0.3, neutral=0),
                translate=Amount(0, 10, "cut", neutral=0),
                rotate=Amount(0, 30, "cut", neutral=0),
                solarize=Amount(256, -256, "cut", neutral=0),
                posterize=Amount(4, -4, "cut"),
                blend=Amount(0.1, 1.8, neutral=5),
                cutout=Amount(0, 20, "cut", neutral=0),
                pairing=Amount(0, 0.4, neutral=0),
            ),
        ),
        "fast": Scale(
            1,
            _amounts(
                shear=Amount(-0.3, 0.6, neutral=0.5),
                translate=Amount(-0.45, 0.9, share=True, neutral=0.5),
                rotate=Amount(-30, 60, neutral=0.5),
                solarize=Amount(0, 256, neutral=1),
                posterize=Amount(4, 4, "cut", neutral=1),
                blend=Amount(0.1, 1.8, neutral=0.5),
                cutout=Amount(0, 0.2, share=True, neutral=0),
                pairing=Amount(0, 0.4, neutral=0),
            ),
        ),
        "wide": Scale(
            1,
            _amounts(
                shear=Amount(0, 0.99, neutral=0),
                translate=Amount(0, 32, "cut", neutral=0),
                rotate=Amount(0, 135, "cut", neutral=0),
                solarize=Amount(256, -256, "cut", neutral=0),
                posterize=Amount(8, -6, "near", neutral=0),
                blend=Amount(0.01, 1.99, neutral=0.99 / 1.99),
                cutout=Amount(0, 0.2, share=True, neutral=0),
                pairing=Amount(0, 0.4, neutral=0),
            ),
        ),
    }
)


def scale_of(name: str) -> Scale:
    """The scale of a name.

    Raises:
        FphiError: there is none.
    """
    for known, scale in SCALES.items():
        if name == known:
            return scale
    raise FphiError(f"scale is {name!r}; it must be one of {', '.join(get_args(ScaleName))}")
