"""What the operations of augmentation make of an image, as a sheet in PNG bytes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fphi.errors import FphiError
from fphi.learnable.augmentation import FILL, NAMES, OPERATIONS, SCALES, ScaleName, operate
from fphi.learnable.augmentation.checking import Fill
from fphi.report.plots import INK, new_figure, to_png

__all__ = ["draw_operations"]

_COLUMNS, _SIDE, _TITLE, _BETWEEN, _GAP = 4, 0.47, 0.2, 0.1, 2


def draw_operations(
    images: Tensor,
    magnitudes: Sequence[float] | None = None,
    *,
    scale: ScaleName = "autoaugment",
    fill: Fill = FILL,
) -> bytes:
    """The first image, and what each operation makes of it at some magnitudes, from left to right.

    Args:
        images: ``[n, C, H, W]`` in 0 … 1; SamplePairing pairs the first with the last.
        magnitudes: on the scale; None: 1, 4, 7 and 10 tenths of the largest.
        scale: what a magnitude means.
        fill: of what comes from outside, and of what is cut out.

    Raises:
        FphiError: there is no magnitude, or the images are none.
    """
    most = SCALES[scale].most
    strengths = [most * tenth / 10 for tenth in (1, 4, 7, 10)] if magnitudes is None else list(magnitudes)
    if not strengths or not len(images):
        raise FphiError(
            f"there are {len(images)} images and {len(strengths)} magnitudes to draw; give some of each"
        )
    down = -(-len(NAMES) // _COLUMNS)
    across = 1 + len(strengths)
    height = down * (_SIDE + _TITLE)
    figure = new_figure(_COLUMNS * (across * _SIDE + _BETWEEN), height)
    edges = {"left": 0.005, "right": 0.995, "bottom": 0.01, "top": 1 - _TITLE / height}
    grid = {**edges, "hspace": _TITLE / _SIDE, "wspace": _BETWEEN / (across * _SIDE)}
    for axes, name in zip(
        figure.subplots(down, _COLUMNS, squeeze=False, gridspec_kw=grid).flat, NAMES, strict=False
    ):
        strip = _strip(name, images, strengths, scale, fill)
        axes.imshow(strip.numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(name, color=INK, fontsize=8, pad=2)
        axes.set_axis_off()
    return to_png(figure)


def _strip(name: str, images: Tensor, strengths: Sequence[float], scale: ScaleName, fill: Fill) -> Tensor:
    """``[H, W', C]``, white between the images; an operation without magnitudes is shown once."""
    count = len(strengths)
    # The upper number: amounts are above 0, and the last image is the other one of a pair.
    chance = torch.tensor([[0.999, 0.6]], dtype=torch.float64).expand(count, 2)
    if name == "Cutout":
        chance = torch.full((count, 2), 0.6, dtype=torch.float64)
    given = images[:1].expand(count, -1, -1, -1)
    levels = torch.tensor(strengths, dtype=torch.float64)
    changed = operate(name, given, levels, chance, scale=scale, others=images, fill=fill)
    if not OPERATIONS[name].has_magnitude:
        changed = torch.cat([changed[:1], torch.ones_like(changed[1:])])
    white = torch.ones_like(images[0, :, :, :_GAP])
    parts = [images[0], *(part for image in changed for part in (white, image))]
    row = torch.cat(parts, 2).permute(1, 2, 0)
    return row[..., 0] if row.shape[2] == 1 else row
