"""How fast a batch is augmented: fphi's policies on the whole batch, Pillow image by image, and kornia.

``OMP_NUM_THREADS=1 python benchmarks/augmentation.py`` augments 128 images of 32x32 RGB. Pillow carries out
the very plan that fphi drew, from arrays of uint8 to a batch of floats, as a data set of images does; what
both give is compared first. kornia, where it is installed, has its own policies of the same names, and draws
one for the whole batch, not for each image. Systems take turns; what is printed are medians.
"""

import argparse
import statistics
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from fphi.augmentation import AugmentationPolicy, published
from fphi.learnable.augmentation import OPERATIONS
from fphi.learnable.augmentation.geometry import MOVES
from fphi.learnable.augmentation.scales import scale_of
from timing import interleaved

POLICIES = ("autoaugment-cifar10", "pba-cifar10", "randaugment", "trivialaugment")
_NAMES = tuple(OPERATIONS)
Fill = tuple[int, ...]
MATRICES: dict[str, Callable[[float], tuple[float, ...]]] = {
    "ShearX": lambda a: (1, a, 0, 0, 1, 0),
    "ShearY": lambda a: (1, 0, 0, a, 1, 0),
    "TranslateX": lambda a: (1, 0, a, 0, 1, 0),
    "TranslateY": lambda a: (1, 0, 0, 0, 1, a),
}
_AFFINE = Image.Transform.AFFINE
_EPOCH = 150  # of a schedule


def by_pillow(image: Image.Image, name: str, amount: float, chance: list[float], fill: Fill) -> Image.Image:
    """One operation, as AutoAugment's code does it."""
    if name in MATRICES:
        return image.transform(image.size, _AFFINE, MATRICES[name](amount), fillcolor=fill)
    if name == "Rotate":
        return image.rotate(amount, fillcolor=fill)
    if name == "Cutout":
        left, top, half = int(chance[0] * image.width), int(chance[1] * image.height), int(amount) // 2
        image.paste(fill, (max(0, left - half), max(0, top - half), left + half, top + half))
        return image
    if name in ("Solarize", "Posterize"):
        changed = getattr(ImageOps, name.lower())(image, int(amount))
    elif hasattr(ImageEnhance, name):
        changed = getattr(ImageEnhance, name)(image).enhance(amount)
    else:
        changed = image if name == "Identity" else getattr(ImageOps, name.lower())(image)
    assert isinstance(changed, Image.Image)
    return changed


Planned = tuple[list[list[int]], list[list[float]], list[list[list[float]]], Fill]


def planned(policy: AugmentationPolicy, chance: Tensor, side: tuple[int, int]) -> Planned:
    """What is done to each image, in numbers of Python: operations, signed amounts, chance; and the fill."""
    plan, scale = policy.plan(chance), scale_of(policy.scale)
    amounts: list[list[float]] = []
    for image in zip(plan.operations.tolist(), plan.magnitudes, plan.chance.tolist(), strict=True):
        amounts.append([])
        for place, magnitude, own in zip(*image, strict=True):
            turned = _NAMES[place] in MOVES and own[0] < 0.5
            amounts[-1].append((-1 if turned else 1) * float(scale.at(_NAMES[place], magnitude, side)))
    fill = tuple(int(level) for level in policy.fill)
    return plan.operations.tolist(), amounts, plan.chance.tolist(), fill


def pillow_batch(pixels: NDArray[np.uint8], plan: Planned) -> Tensor:
    """All images, one by one: ``[n, C, H, W]`` in 0 … 1."""
    found, fill = [], plan[3]
    for array, *steps in zip(pixels, *plan[:3], strict=True):
        image = Image.fromarray(array)
        for place, amount, own in zip(*steps, strict=True):
            if place >= 0:
                image = by_pillow(image, _NAMES[place], amount, own, fill)
        found.append(torch.from_numpy(np.array(image)))
    return torch.stack(found).permute(0, 3, 1, 2).float() / 255


def systems(name: str, images: Tensor) -> dict[str, Callable[[], object]]:
    """What augments the same batch by a policy of one name, with the drawing of random numbers."""
    augment = published(name)
    augment.set_epoch(_EPOCH)
    policy, pixels = augment.policy, (255 * images).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
    chance = policy.draw(len(images), torch.Generator().manual_seed(0))
    plan = planned(policy, chance, (images.shape[2], images.shape[3]))
    away = (policy(images, chance) - pillow_batch(pixels, plan)).abs()
    print(f"{name}: {(255 * away <= 2.5).float().mean():.2%} of the values within 2 grey levels of Pillow's")
    peers: dict[str, Callable[[], object]] = {
        "fphi": lambda: augment(images),
        "Pillow, one by one": lambda: pillow_batch(pixels, plan),
    }
    try:
        auto: Any = import_module("kornia.augmentation.auto")
    except ImportError:
        return peers
    of_kornia = {
        "autoaugment-cifar10": lambda: auto.AutoAugment("cifar10"),
        "randaugment": lambda: auto.RandAugment(2, 15),
        "trivialaugment": auto.TrivialAugment,
    }
    if name in of_kornia:
        module = of_kornia[name]()
        peers["kornia, one for the batch"] = lambda: module(images)
    return peers


def main() -> None:
    """Print images a second of each policy and system."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=21)
    options = parser.parse_args()
    draw = torch.Generator().manual_seed(0)
    noise = torch.rand(options.batch, 3, options.side, options.side, generator=draw)
    images = (255 * torch.nn.functional.avg_pool2d(noise, 5, 1, 2)).round() / 255
    for name in POLICIES:
        seconds = interleaved(systems(name, images), options.rounds)
        for system, times in seconds.items():
            median = statistics.median(times)
            print(f"  {system:28}{options.batch / median:10,.0f} images/s{1000 * median:10.2f} ms a batch")


if __name__ == "__main__":
    main()
