"""The operations of augmentation as Pillow does them, one image at a time: what the batched ones must give."""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from torch import Tensor

__all__ = ["MODES", "as_tensor", "by_pillow", "picture"]

Pixels = NDArray[np.uint8]
MODES = ("RGB", "L")
_AFFINE = Image.Transform.AFFINE


def picture(mode: str, size: tuple[int, int], seed: int = 0) -> Pixels:
    """Smooth shapes and noise, neither all levels nor few: ``[H, W]`` or ``[H, W, 3]``."""
    height, width = size
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / max(size)
    waves = [np.sin(5 * x + a) + np.cos(7 * y + 2 * a) for a in random.uniform(0, 6, 3)]
    levels = 120 + 45 * np.stack(waves, -1) + random.normal(0, 8, (height, width, 3))
    pixels = levels.clip(0, 255).astype(np.uint8)
    return pixels if mode == "RGB" else pixels[..., 0]


def as_tensor(pixels: Pixels) -> Tensor:
    """``[1, C, H, W]`` in 0 … 1."""
    tensor = torch.from_numpy(pixels.copy()).reshape(*pixels.shape[:2], -1)
    return tensor.permute(2, 0, 1)[None].float() / 255


def by_pillow(operation: str, pixels: Pixels, amount: float, place: tuple[int, int] = (0, 0)) -> Pixels:
    """With an amount that has its sign, black from outside, and a Cutout (black too) around (column, row)."""
    image = Image.fromarray(pixels)
    matrices = {
        "ShearX": (1, amount, 0, 0, 1, 0), "ShearY": (1, 0, 0, amount, 1, 0),
        "TranslateX": (1, 0, amount, 0, 1, 0), "TranslateY": (1, 0, 0, 0, 1, amount),
    }  # fmt: skip
    if operation in matrices:
        changed = image.transform(image.size, _AFFINE, matrices[operation])
    elif operation == "Rotate":
        changed = image.rotate(amount)
    elif operation == "Solarize":
        changed = ImageOps.solarize(image, amount)  # type: ignore[arg-type]
    elif operation == "Posterize":  # which Pillow refuses with no bits
        changed = ImageOps.posterize(image, int(amount)) if amount else Image.new(image.mode, image.size)
    elif operation == "Cutout":
        changed = image.copy()
        left, top, half = *place, int(amount) // 2
        if half:
            box = (left - half, top - half, left + half - 1, top + half - 1)
            ImageDraw.Draw(changed).rectangle(box, fill=0 if image.mode == "L" else (0, 0, 0))
    elif hasattr(ImageEnhance, operation):
        changed = getattr(ImageEnhance, operation)(image).enhance(amount)
    else:
        changed = getattr(ImageOps, operation.lower())(image)
    return np.asarray(changed)
