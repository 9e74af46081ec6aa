"""Images whose grey levels or colours are changed, each by its own amount, after the definitions of Pillow.

All take and give images ``[n, C, H, W]`` in 0 … 1, where C is 1 or 3; an amount is ``[n, 1, 1, 1]``. Where
Pillow cuts its result off to a whole grey level, these keep what comes after the point.
"""

import torch
from torch import Tensor

__all__ = [
    "blended",
    "brightened",
    "coloured",
    "contrasting",
    "equalized",
    "grey",
    "posterized",
    "sharpened",
    "solarized",
    "stretched",
]

_RED, _GREEN, _BLUE = 0.299, 0.587, 0.114


def grey(images: Tensor) -> Tensor:
    """The grey image ``[n, 1, H, W]`` of each."""
    if images.shape[1] == 1:
        return images
    return _RED * images[:, :1] + _GREEN * images[:, 1:2] + _BLUE * images[:, 2:]


def blended(base: Tensor, images: Tensor, factor: Tensor) -> Tensor:
    """``base`` where the factor is 0, the image where it is 1, and beyond it above 1."""
    return torch.lerp(base, images, factor).clamp(0, 1)


def brightened(images: Tensor, factor: Tensor) -> Tensor:
    """Blended with black."""
    return (images * factor).clamp(0, 1)


def coloured(images: Tensor, factor: Tensor) -> Tensor:
    """Blended with the grey image."""
    return blended(grey(images).expand_as(images), images, factor)


def contrasting(images: Tensor, factor: Tensor) -> Tensor:
    """Blended with the mean of the grey image."""
    return blended(grey(images).mean((2, 3), keepdim=True).expand_as(images), images, factor)


def sharpened(images: Tensor, factor: Tensor) -> Tensor:
    """Blended with a smoothed image, whose border is as it was."""
    if min(images.shape[-2:]) < 3:
        return images
    rows = images[..., :-2, :] + images[..., 1:-1, :] + images[..., 2:, :]
    around = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    smooth = images.clone()
    smooth[..., 1:-1, 1:-1] = (around + 4 * images[..., 1:-1, 1:-1]) / 13
    return blended(smooth, images, factor)


def solarized(images: Tensor, threshold: Tensor) -> Tensor:
    """Grey levels from the threshold (0 … 256) on are inverted."""
    return torch.where(_levels(images) < threshold.detach(), images, 1 - images)


def posterized(images: Tensor, bits: Tensor) -> Tensor:
    """Only the upper ``bits`` (0 … 8) of a grey level are kept."""
    bits = bits.detach().round()
    size = 2 ** (8 - bits)
    kept = (_levels(images) / size).floor() * size / 255
    return torch.where(bits == 8, images, kept.to(images.dtype))


def stretched(images: Tensor) -> Tensor:
    """Each channel from its own darkest to its own lightest level, which become 0 and 1: AutoContrast."""
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    flat = high <= low
    return torch.where(flat, images, (images - low) / torch.where(flat, 1.0, high - low))


def equalized(images: Tensor) -> Tensor:
    """Each channel with its grey levels spread so that all are about equally frequent."""
    levels = _levels(images).long().flatten(0, 1).flatten(1)  # [n·C, H·W]
    count, size = levels.shape
    places = levels + 256 * torch.arange(count, device=levels.device)[:, None]
    counts = places.flatten().bincount(minlength=256 * count).view(count, 256)
    step = (size - counts.gather(1, levels.amax(1, keepdim=True))) // 255
    table = (step // 2 + counts.cumsum(1) - counts) // step.clamp(min=1)
    spread = (table.clamp(max=255).to(images.dtype) / 255).gather(1, levels).view_as(images)
    return torch.where(step.view(*images.shape[:2], 1, 1) == 0, images, spread)


def _levels(images: Tensor) -> Tensor:
    """Grey levels 0 … 255, whole numbers as floats."""
    wide = images.detach().to(torch.promote_types(images.dtype, torch.float32))
    return (255 * wide).round()
