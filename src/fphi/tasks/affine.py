"""Images made smaller, and distorted.

Affine maps are drawn as Koch, Zemel and Salakhutdinov (2015) do; images are also bent smoothly, in the manner
of Simard, Steinkraus and Platt (2003).
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["NUMBERS_PER_BEND", "NUMBERS_PER_MAP", "Reduction", "affine_copies", "affine_maps", "reduced"]

Reduction = Literal["nearest", "area"]

# Random numbers of one map: whether each of its four parts is there, then the angle, two shears, two scales
# and two shifts.
NUMBERS_PER_MAP = 11

# A net of so many points a side lies over the image; each is moved along either axis.
_NET = 4
NUMBERS_PER_BEND = 2 * _NET**2

_ANGLE = math.radians(10)
_SHEAR = 0.3
_SCALE = 0.2
_SHIFT = 2 / 52.5  # 2 pixels of 105, in units of half an image
_BEND = 2.5 / 52.5


def affine_copies(
    x: Tensor,
    u: Tensor,
    side: int | None = None,
    reduction: Reduction = "nearest",
    bend: Tensor | None = None,
) -> Tensor:
    """Distort each image by a random affine map of its own; what comes from outside the image is 0.

    A copy is turned by up to 10 degrees, sheared by up to 0.3, scaled by 0.8 to 1.2 and shifted by up to
    2 of 105 pixels, along either axis; each of these four with probability one half.

    Args:
        x: float images ``[n, C, H, W]``.
        u: random numbers in [0, 1), ``[n, NUMBERS_PER_MAP]``; with twice as many, each copy is distorted a
            second time.
        side: pixels of a side of the copies; None: as the images.
        reduction: of copies that are smaller. "nearest": a pixel of the copy is the nearest of the image, so
            that images of two values have copies of two values, like the images of a test. "area": it is
            the mean of places spread over it, each interpolated.
        bend: random numbers in [0, 1), ``[n, NUMBERS_PER_BEND]``, that move 16 points of the copy, a net of
            four rows, by up to 2.5 of 105 pixels along either axis; between them it is bent smoothly.

    >>> image = torch.rand(1, 1, 8, 8)
    >>> torch.allclose(affine_copies(image, torch.full((1, NUMBERS_PER_MAP), 0.9)), image, atol=1e-6)
    True
    """
    height, width = x.shape[-2:] if side is None else (side, side)
    grey = reduction == "area" and max(x.shape[-2:]) > max(height, width)
    # Two places a pixel and axis, or more if they would lie farther apart than two pixels of the image.
    finer = 2 * math.ceil(max(x.shape[-2:]) / (4 * max(height, width))) if grey else 1
    grid = F.affine_grid(
        affine_maps(u.to(x.dtype)), [*x.shape[:2], finer * height, finer * width], align_corners=False
    )
    if bend is not None:
        grid = grid + _bent(bend.to(x.dtype), grid.shape[1:3])
    mode = "bilinear" if grey else "nearest"
    copies = F.grid_sample(x, grid, mode=mode, padding_mode="zeros", align_corners=False)
    return F.avg_pool2d(copies, finer) if grey else copies


def reduced(pixels: Tensor, side: int, reduction: Reduction = "nearest") -> Tensor:
    """Images ``[n, C, H, W]`` as ``[n, C, side, side]``: a pixel is the nearest, or the mean over its area.

    >>> reduced(torch.arange(100).view(1, 1, 10, 10), 4)[0, 0, 0].tolist()
    [11, 13, 16, 18]
    >>> reduced(torch.tensor([[[[0.0, 3.0, 9.0]] * 3]]), 2, "area")[0, 0, 0].tolist()
    [1.0, 7.0]
    """
    if reduction == "area":
        rows, columns = (_shares(of, side).to(pixels.device) for of in pixels.shape[-2:])
        return rows @ pixels.to(torch.float32) @ columns.mT
    places = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    height, width = ((places * of).long().to(pixels.device) for of in pixels.shape[-2:])
    return pixels[..., height[:, None], width]


def _shares(size: int, side: int) -> Tensor:
    """How much of each of ``size`` pixels in a row is in each of ``side`` equal parts: ``[side, size]``.

    >>> _shares(3, 2)
    tensor([[0.6667, 0.3333, 0.0000],
            [0.0000, 0.3333, 0.6667]])
    """
    ends = torch.arange(1, side + 1, dtype=torch.float64)[:, None] * (size / side)
    pixel = torch.arange(size, dtype=torch.float64)
    upto = (ends - pixel).clamp(0, 1)
    parts = upto.diff(dim=0, prepend=torch.zeros(1, size, dtype=torch.float64))
    return (parts * (side / size)).to(torch.float32)


def affine_maps(u: Tensor) -> Tensor:
    """The maps ``[n, 2, 3]`` from places in the copy to places in the image, in units of half an image.

    Of ``k * NUMBERS_PER_MAP`` numbers come k maps, one applied after the other.
    """
    first, *others = (_affine_map(numbers) for numbers in torch.split(u, NUMBERS_PER_MAP, 1))
    for other in others:
        moved = first[:, :, :2] @ other
        first = torch.cat([moved[:, :, :2], moved[:, :, 2:] + first[:, :, 2:]], 2)
    return first


def _bent(u: Tensor, size: torch.Size) -> Tensor:
    """How far each place of a copy is moved: ``[n, height, width, 2]``, in units of half an image."""
    net = _BEND * (2 * u - 1).view(-1, 2, _NET, _NET)
    return F.interpolate(net, list(size), mode="bicubic", align_corners=True).permute(0, 2, 3, 1)


def _affine_map(u: Tensor) -> Tensor:
    turned, sheared, scaled, shifted = (u[:, :4] < 0.5).to(u.dtype).unbind(1)
    spread = 2 * u[:, 4:] - 1  # in [-1, 1)
    angle = _ANGLE * turned * spread[:, 0]
    shear = _SHEAR * sheared[:, None] * spread[:, 1:3]
    scale = 1 + _SCALE * scaled[:, None] * spread[:, 3:5]
    shift = _SHIFT * shifted[:, None] * spread[:, 5:7]
    turn = _matrices(angle.cos(), -angle.sin(), angle.sin(), angle.cos())
    one = torch.ones_like(angle)
    slant = _matrices(one, shear[:, 0], shear[:, 1], one)
    return torch.cat([turn @ slant @ torch.diag_embed(1 / scale), shift.unsqueeze(2)], 2)


def _matrices(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    return torch.stack([a, b, c, d], 1).view(-1, 2, 2)
