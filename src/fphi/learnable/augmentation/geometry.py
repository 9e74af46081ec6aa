"""Images that are sheared, shifted and turned, each by its own amount: pixel by pixel what Pillow gives.

A pixel is the nearest of the image, whose place is reckoned in 16 bits after the point, as Pillow does: an
angle that falls between two pixels falls on the same side. Being a choice among pixels, none of these
operations has a derivative by its amount.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

__all__ = ["MOVES", "moved", "moves"]

_ENTRIES = {"ShearX": (0, 1), "ShearY": (1, 0), "TranslateX": (0, 2), "TranslateY": (1, 2)}
MOVES = frozenset({*_ENTRIES, "Rotate"})
"""The operations here."""

_ONE = 2**16


def moves(
    groups: Iterable[tuple[str, slice]], amounts: Tensor, chance: Tensor, side: tuple[int, int]
) -> Tensor:
    """Where the pixels of each image come from: ``[n, 2, 3]``, float64.

    A shear shifts rows, or columns, by the amount times their place; a shift above 0 goes to the left, or
    upwards; a turn about the centre above 0 goes against the clock.

    Args:
        groups: operations, each with the slice of its images.
        amounts: of all images, ``[n]``, without signs: half of them, at random, are turned round.
        chance: random numbers, ``[n, 1 or more]``; below 0.5 the first of an image turns its amount round.
        side: height and width.
    """
    signed = amounts.detach().double().cpu() * (1 - 2 * (chance[:, 0].cpu() < 0.5).double())
    matrix = torch.eye(2, 3, dtype=torch.float64).repeat(len(signed), 1, 1)
    for operation, rows in groups:
        if operation in _ENTRIES:
            matrix[(rows, *_ENTRIES[operation])] = signed[rows]
        else:
            matrix[rows] = _turns(signed[rows], side)
    return matrix


def _turns(degrees: Tensor, side: tuple[int, int]) -> Tensor:
    angle = -degrees.deg2rad()
    cos, sin = angle.cos(), angle.sin()
    turn = torch.stack([cos, sin, -sin, cos], 1).view(-1, 2, 2)
    centre = torch.tensor([[side[1] / 2], [side[0] / 2]], dtype=torch.float64)
    return torch.cat([turn, centre - turn @ centre], 2)


def moved(images: Tensor, matrix: Tensor, fill: Tensor) -> Tensor:
    """The pixel at (x, y) is the image's at ``matrix`` (x, y, 1), or ``fill`` where that is outside.

    Args:
        images: ``[n, C, H, W]``.
        matrix: ``[n, 2, 3]``.
        fill: ``[C, 1, 1]``.
    """
    height, width = images.shape[-2:]
    matrix = torch.cat([matrix[..., :2], matrix[..., 2:] + matrix[..., :2].sum(2, keepdim=True) / 2], 2)
    farthest = matrix.abs() @ torch.tensor([width, height, 1.0], dtype=matrix.dtype, device=matrix.device)
    # Half as many bits take less time, and are enough for any image but the largest.
    kind = torch.int32 if farthest.numel() and farthest.max() < _ONE // 4 else torch.int64
    places = (matrix * _ONE + 0.5).floor().to(images.device, kind)
    by_x, by_y, rest = places[..., None, None].unbind(2)
    x, y = (torch.arange(size, dtype=kind, device=images.device) for size in (width, height))
    column, row = ((by_x * x + (by_y * y[:, None] + rest)) >> 16).unbind(1)  # [n, H, W]
    # What comes from outside comes from a frame around the image.
    framed = fill.expand(len(images), -1, height + 2, width + 2).clone()
    framed[..., 1:-1, 1:-1] = images
    place = (row.clamp(-1, height) + 1) * (width + 2) + (column.clamp(-1, width) + 1)
    place = place.flatten(1)[:, None].long().expand(-1, images.shape[1], -1)
    return framed.flatten(2).gather(2, place).view_as(images)
