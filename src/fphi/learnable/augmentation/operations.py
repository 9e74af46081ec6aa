"""The 16 operations of AutoAugment on a batch, where each image has a magnitude and a switch of its own.

AutoAugment (Cubuk et al., CVPR 2019, arXiv 1805.09501) takes them from Pillow, and so their definitions are
Pillow's. Everything random is given as numbers in [0, 1): the result is a function of its arguments alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise, starmap
from types import MappingProxyType

import torch
from torch import Tensor

from fphi.errors import FphiError
from fphi.learnable.augmentation import tones
from fphi.learnable.augmentation.checking import (
    Fill,
    checked_fill,
    require_between,
    require_images,
    require_numbers,
    require_range,
)
from fphi.learnable.augmentation.geometry import MOVES, moved, moves
from fphi.learnable.augmentation.scales import Scale, ScaleName, scale_of

__all__ = ["CHANCES", "FILL", "NAMES", "OPERATIONS", "Operation", "augmented", "operate"]

CHANCES = 2
"""Random numbers that one application takes: of its sign or the other image, and of the place of a Cutout."""

FILL: Fill = (125, 123, 114)
"""What comes from outside an image, and what is cut out of one: CIFAR-10's mean colour, in grey levels."""


@dataclass(frozen=True)
class Application:
    """What an operation is given besides the images ``[n, C, H, W]``.

    Args:
        amounts: ``[n, 1, 1, 1]``.
        chance: random numbers ``[n, CHANCES]``.
        others: images ``[m, C, H, W]`` that one may be paired with.
        fill: ``[C, 1, 1]``.
    """

    amounts: Tensor
    chance: Tensor
    others: Tensor
    fill: Tensor


@dataclass(frozen=True)
class Operation:
    """One way of changing images.

    Args:
        change: images of the same shape from images and what else is given; None: pixels only move.
        has_magnitude: whether its amount changes anything.
        differentiable: whether the result has a derivative by the magnitude.
    """

    change: Callable[[Tensor, Application], Tensor] | None
    has_magnitude: bool = True
    differentiable: bool = False


def _pair(images: Tensor, given: Application) -> Tensor:
    count = len(given.others)
    partner = (given.chance[:, 0] * count).long().clamp(max=count - 1)
    return tones.blended(images, given.others[partner.to(images.device)], given.amounts)


def _cut(images: Tensor, given: Application) -> Tensor:
    """Without the square around a pixel of the image, as far as it is inside."""
    half, inside = given.amounts.detach()[:, 0, 0] / 2, []
    for axis, length in enumerate((images.shape[-1], images.shape[-2])):
        centre = (given.chance[:, axis, None] * length).floor().to(images.device)
        away = torch.arange(length, device=images.device) - centre
        inside.append((away >= -half) & (away < half))
    across, down = inside
    return torch.where((down[:, :, None] & across[:, None])[:, None], given.fill, images)


def _tone(change: Callable[[Tensor, Tensor], Tensor], differentiable: bool = False) -> Operation:
    return Operation(lambda x, given: change(x, given.amounts), differentiable=differentiable)


def _plain(change: Callable[[Tensor], Tensor]) -> Operation:
    return Operation(lambda x, given: change(x), has_magnitude=False)


OPERATIONS: Mapping[str, Operation] = MappingProxyType(
    {
        **dict.fromkeys(("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"), Operation(None)),
        "AutoContrast": _plain(tones.stretched),
        "Invert": _plain(lambda x: 1 - x),
        "Equalize": _plain(tones.equalized),
        "Solarize": _tone(tones.solarized),
        "Posterize": _tone(tones.posterized),
        "Contrast": _tone(tones.contrasting, differentiable=True),
        "Color": _tone(tones.coloured, differentiable=True),
        "Brightness": _tone(tones.brightened, differentiable=True),
        "Sharpness": _tone(tones.sharpened, differentiable=True),
        "Cutout": Operation(_cut),
        "SamplePairing": Operation(_pair, differentiable=True),
        "Identity": _plain(lambda x: x),
    }
)
"""By name: those of AutoAugment in the order of its paper, and the identity, which later policies have."""

_ORDER = tuple(OPERATIONS)
NAMES = _ORDER[:16]
"""AutoAugment's."""


def operate(
    operation: str,
    images: Tensor,
    magnitudes: Tensor,
    chance: Tensor,
    on: Tensor | None = None,
    *,
    scale: ScaleName = "autoaugment",
    others: Tensor | None = None,
    fill: Fill = FILL,
) -> Tensor:
    """One operation on a batch, in which each image has a magnitude and a switch of its own.

    Args:
        operation: a name of `OPERATIONS`.
        images: ``[n, C, H, W]`` in 0 … 1, grey or RGB.
        magnitudes: ``[n]``, on the scale.
        chance: random numbers in [0, 1), ``[n, CHANCES]``.
        on: whether an image is changed, ``[n]``; None: all are.
        scale: what a magnitude means.
        others: images ``[m, C, H, W]`` that SamplePairing pairs with; None: these.
        fill: of pixels from outside, and of what is cut out: a grey level of 0 … 255, or one of each channel.

    Raises:
        FphiError: there is no such operation or scale, or what it is given are no such images or numbers.

    >>> x = torch.tensor([[[[0.25, 0.5]]], [[[0.25, 0.5]]]])
    >>> operate("Invert", x, torch.zeros(2), torch.zeros(2, 2), torch.tensor([True, False])).flatten(1)
    tensor([[0.7500, 0.5000],
            [0.2500, 0.5000]])
    """
    if not isinstance(operation, str) or operation not in OPERATIONS:
        raise FphiError(f"there is no operation {operation!r}; there are {', '.join(OPERATIONS)}")
    known, others = scale_of(scale), images if others is None else others
    _require(images, magnitudes, chance, on, others, known.most)
    given = magnitudes, chance, known, others, _colour(fill, images)
    changed = _changed({operation: slice(None)}, images, *given)
    if on is None:
        return changed
    return torch.where(on.to(images.device, torch.bool)[:, None, None, None], changed, images)


def _require(
    images: Tensor, magnitudes: Tensor, chance: Tensor, on: Tensor | None, others: Tensor, most: float
) -> None:
    require_images(images)
    require_range(images)
    require_numbers("the magnitudes", magnitudes, len(images))
    require_between("a magnitude", magnitudes, most)
    require_numbers("the chance", chance, len(images), CHANCES)
    require_between("a random number", chance, 1)
    if on is not None:
        require_numbers("the switches", on, len(images))
    if others is images:
        return
    require_images(others)
    require_range(others)
    if not len(others) or others.shape[1:] != images.shape[1:] or others.dtype != images.dtype:
        raise FphiError(
            f"the other images are {others.dtype} {list(others.shape)} and the images {images.dtype} "
            f"{list(images.shape)}; give at least one, of the same kind and size"
        )


def augmented(
    images: Tensor,
    operations: Tensor,
    magnitudes: Tensor,
    chance: Tensor,
    *,
    scale: ScaleName,
    others: Tensor | None = None,
    fill: Fill = FILL,
) -> Tensor:
    """Up to k operations on each image of a batch, one after the other.

    Args:
        images: ``[n, C, H, W]`` in 0 … 1, grey or RGB.
        operations: places in `OPERATIONS`, -1 for none, ``[n, k]`` on the CPU, as what follows.
        magnitudes: ``[n, k]``.
        chance: random numbers in [0, 1), ``[n, k, CHANCES]``.
        scale: see `operate`, as what follows.
        others: images.
        fill: grey levels.
    """
    others = images if others is None else others
    images, known, colour = images.clone(), scale_of(scale), _colour(fill, images)
    for step, drawn in enumerate(operations.unbind(1)):
        for group in _groups(drawn):
            rows = torch.cat(list(group.values()))
            ends = list(accumulate((len(own) for own in group.values()), initial=0))
            slices = dict(zip(group, starmap(slice, pairwise(ends)), strict=True))
            there, own = rows.to(images.device), (magnitudes[rows, step], chance[rows, step])
            images.index_copy_(0, there, _changed(slices, images[there], *own, known, others, colour))
    return images


def _groups(drawn: Tensor) -> list[dict[str, Tensor]]:
    """The rows of each operation; those that move pixels are done in one go."""
    of = {_ORDER[i]: (drawn == i).nonzero()[:, 0] for i in sorted(set(drawn.tolist())) if i >= 0}
    of.pop("Identity", None)
    moving = {name: rows for name, rows in of.items() if name in MOVES}
    groups = [{name: rows} for name, rows in of.items() if name not in MOVES]
    return [*groups, moving] if moving else groups


def _changed(
    groups: Mapping[str, slice],
    images: Tensor,
    magnitudes: Tensor,
    chance: Tensor,
    scale: Scale,
    others: Tensor,
    fill: Tensor,
) -> Tensor:
    """By one operation, or by several that move pixels, each on the images of its slice."""
    height, width = images.shape[-2:]
    parts = [scale.at(name, magnitudes[own], (height, width)) for name, own in groups.items()]
    amounts = parts[0] if len(parts) == 1 else torch.cat(parts)
    change = OPERATIONS[next(iter(groups))].change
    if change is None:
        return moved(images, moves(groups.items(), amounts, chance, (height, width)), fill)
    amounts = amounts.to(images.device, images.dtype)[:, None, None, None]
    return change(images, Application(amounts, chance, others, fill))


def _colour(fill: Fill, images: Tensor) -> Tensor:
    """``[C, 1, 1]`` in 0 … 1."""
    levels = torch.tensor(checked_fill(fill), dtype=images.dtype, device=images.device)[:, None, None] / 255
    channels = images.shape[1]
    return tones.grey(levels[None])[0] if len(levels) > channels else levels.expand(channels, 1, 1)
