"""By what the images of one large task were standardised, beside the network that was trained on them."""

from typing import Any

import torch
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.run.disk.schema import group, number, require

__all__ = ["Levels", "Standardised", "levels_json", "levels_of", "on_images", "read_levels"]

_WHITE = 255

# Mean and deviation of each channel's grey levels 0 … 255.
Levels = tuple[tuple[float, ...], tuple[float, ...]]


class Standardised(nn.Module):
    """Images of grey levels 0 … 255, in any type, as the examples that a network was trained on.

    Args:
        levels: mean and deviation of each channel of the training images.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, levels: Levels) -> None:
        super().__init__()
        for name, values in zip(("mean", "deviation"), levels, strict=True):
            self.register_buffer(name, torch.tensor(values)[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        """``[n, C, H, W]`` of mean 0 and deviation 1, as far as the images are like those of the training."""
        return (images.to(self.mean.dtype) - self.mean) / self.deviation


def levels_of(levels: tuple[Tensor, Tensor] | None) -> Levels | None:
    """Those of a `Supervised`."""
    return (
        None if levels is None else (tuple(levels[0].flatten().tolist()), tuple(levels[1].flatten().tolist()))
    )


def levels_json(levels: Levels | None) -> dict[str, Any]:
    """The entry of a file, if there are any."""
    return {} if levels is None else {"levels": {"mean": list(levels[0]), "deviation": list(levels[1])}}


def read_levels(content: dict[str, Any], channels: int) -> Levels | None:
    """What `levels_json` entered; None: it entered nothing.

    Raises:
        ValueError, KeyError, TypeError: it is none of an image with so many channels.
    """
    if "levels" not in content:
        return None
    entry = group(content["levels"], "levels")
    mean = tuple(float(number(value, "mean", 0, _WHITE)) for value in entry["mean"])
    deviation = tuple(float(number(value, "deviation", 0, _WHITE)) for value in entry["deviation"])
    require(len(mean) == len(deviation) == channels, f"levels of other than {channels} channels")
    require(min(deviation) > 0, "a deviation is 0")
    return mean, deviation


def on_images(run: object, network: nn.Module, levels: Levels | None) -> nn.Module:
    """The network of a run behind what standardises images of grey levels 0 … 255 for it.

    Raises:
        FphiError: nothing tells by what.
    """
    if levels is None:
        raise FphiError(
            f"{run} does not tell by which grey levels its images were standardised (searches for few-shot "
            "learners, and runs of before, do not): leave out images=True, and give what it was trained on"
        )
    return nn.Sequential(Standardised(levels), network).eval()
