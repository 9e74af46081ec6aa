"""Images and recordings as features that are computed by hand: no weights are needed, and no network."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fphi.few_shot.encoders.base import Encoder
from fphi.few_shot.items import Items, Kind
from fphi.run.disk.files import Json
from fphi.tasks.image import ImageMode, ImageReader, Values
from fphi.tasks.sound import SoundReader

__all__ = ["Channels", "Descriptor", "Scale", "read_pictures", "scale_of", "scale_told"]

Channels = Literal["auto", "grey", "rgb"]
"""Of images: as they are in the examples, or what all are read as."""

Scale = Values | Literal["each"] | None
"""What black and white are in images of floats or 32 bits; see `ImageReader`."""

_ANGLES = 9
_CELLS = 4, 8
"""Of a side: edges are counted in a coarse grid and in a fine one."""
_MOMENTS, _COSINES = 12, 13
"""Of a recording: at how many moments its timbre is described, by how many numbers."""
_WEIGHTS = {"images": (0.5, 1.0, 1.0), "sounds": (1.0, 0.7, 0.7)}
"""Of colours or timbre, and of the edges in each grid: chosen on CIFAR-10 and on spoken digits."""


def read_pictures(
    items: Items, size: int, mode: ImageMode, scale: Scale = None
) -> tuple[NDArray[np.uint8], ImageReader | SoundReader]:
    """Images, or pictures of recordings, as ``[n, C, size, size]``, and what has read them."""
    sounds = items.kind == "sounds"
    reader = SoundReader(items.files, size) if sounds else ImageReader(items.files, size, mode, scale)
    read = [reader.read(name) for name in items.names()]
    pictures = reader.stacked(read)  # type: ignore[arg-type]
    if mode == "rgb" and pictures.shape[1] == 1:
        pictures = pictures.repeat(3, 1)
    return pictures, reader


def scale_of(reader: ImageReader | SoundReader) -> Scale:
    """By which all further images are scaled, whatever others they come with."""
    return getattr(reader, "values", None) or "each"


def scale_told(spec: Mapping[str, Any]) -> Scale:
    """The scale in what an encoder's ``spec`` told; None in a file of before there were any.

    Raises:
        ValueError: it is none.
    """
    told = spec.get("values")
    if told is None or told == "each":
        return told
    black, white = (float(value) for value in told)
    if not -math.inf < black < white < math.inf:
        raise ValueError(f"values from {black} to {white}")
    return black, white


class Descriptor(Encoder):
    """Where the edges of each direction are (histograms of oriented gradients), and the colours.

    Dalal, Triggs: Histograms of Oriented Gradients for Human Detection, CVPR 2005; here of whole images, in
    two grids of cells. A recording is read as the picture of its sound, with its timbre (cepstra) in place of
    colours.

    Args:
        size: pixels of a side after resizing.
        channels: "auto" keeps colour where the first examples have it.
        scale: of images of floats or 32 bits, as the first examples fix it; None: of all that are encoded.
    """

    name: ClassVar[str] = "descriptor"
    kinds: ClassVar[tuple[Kind, ...]] = ("images", "sounds")

    def __init__(self, size: int = 32, channels: Channels = "auto", scale: Scale = None) -> None:
        self.size, self.channels, self.scale = size, channels, scale

    def learn(self, items: Items) -> Self:
        self.require_kind(items)
        if items.kind == "sounds":
            made = type(self)(self.size, "grey" if self.channels == "auto" else self.channels)
            made.notes = tuple(SoundReader(items.files, self.size).notes)
            return made
        pictures, reader = read_pictures(items, self.size, "rgb")
        channels = self.channels
        if channels == "auto":
            coloured = (pictures.max(1).astype(int) - pictures.min(1)).max() > 16
            channels = "rgb" if coloured else "grey"
        made = type(self)(self.size, channels, scale_of(reader))
        shown = "colour" if channels == "rgb" else "grey"
        made.notes = (f"images are read in {shown}, {self.size} pixels a side", *reader.notes)
        return made

    def encode(self, items: Items) -> Tensor:
        self.require_kind(items)
        mode: ImageMode = "rgb" if self.channels == "rgb" else "grey"
        pictures, _ = read_pictures(items, self.size, mode, self.scale)
        parts = torch.split(torch.from_numpy(pictures).float() / 255, 256)
        return torch.cat([_described(part, items.kind == "sounds") for part in parts])

    def spec(self) -> dict[str, Json]:
        scale: Json = list(self.scale) if isinstance(self.scale, tuple) else self.scale
        return {"size": self.size, "channels": self.channels, "values": scale}

    @classmethod
    def restored(cls, spec: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """What `spec` tells."""
        return cls(int(spec["size"]), spec["channels"], scale_told(spec))


def _described(x: Tensor, sounds: bool) -> Tensor:
    """Features ``[n, d]`` of pictures ``[n, C, H, W]`` in 0..1; each part has a length of its own."""
    other = _cepstra(x) if sounds else (F.adaptive_avg_pool2d(x, _CELLS[0]) - 0.5).flatten(1)
    weights = _WEIGHTS["sounds" if sounds else "images"]
    parts = (other, *(_edges(x, cells) for cells in _CELLS))
    return torch.cat([w * F.normalize(part, dim=1) for w, part in zip(weights, parts, strict=True)], 1)


def _cepstra(x: Tensor) -> Tensor:
    """How loudness goes over pitch at each moment: the first cosines of each column but the mean."""
    moments = F.adaptive_avg_pool2d(x, (x.shape[2], _MOMENTS))[:, 0]
    places = (torch.arange(x.shape[2]) + 0.5) / x.shape[2]
    cosines = torch.cos(torch.pi * torch.arange(1, _COSINES + 1)[:, None] * places)
    return (cosines @ moments).flatten(1)


def _edges(x: Tensor, cells: int) -> Tensor:
    """How much edge of each direction each cell has ``[n, angles * cells²]``, in the strongest channel."""
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    across, down = (
        padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2],
        padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1],
    )
    strength, channel = (across.square() + down.square()).sqrt().max(1, keepdim=True)
    across, down = across.gather(1, channel)[:, 0], down.gather(1, channel)[:, 0]
    angle = torch.atan2(down, across) / torch.pi * _ANGLES % _ANGLES  # a line has no sign
    lower = angle.floor()
    share = angle - lower
    first, second = lower.long() % _ANGLES, (lower.long() + 1) % _ANGLES
    ones = strength[:, 0].unsqueeze(1)
    maps = x.new_zeros(len(x), _ANGLES, *x.shape[2:])
    maps.scatter_add_(1, first.unsqueeze(1), ones * (1 - share).unsqueeze(1))
    maps.scatter_add_(1, second.unsqueeze(1), ones * share.unsqueeze(1))
    counted = F.adaptive_avg_pool2d(maps, cells)
    # Cells of weak and of strong contrast count alike, but for those that are nearly flat.
    counted = counted / (counted.square().sum(1, keepdim=True).sqrt() + 0.02)
    return counted.sqrt().flatten(1)
