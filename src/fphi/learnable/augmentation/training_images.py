"""A policy or schedule as what a training of one network changes its images by."""

import torch
from torch import Tensor

from fphi.errors import FphiError
from fphi.learnable.augmentation.checking import Fill
from fphi.learnable.augmentation.policy import AugmentationPolicy
from fphi.learnable.augmentation.schedule import Schedule
from fphi.tasks.supervised import Supervised
from fphi.within.training import Augment

__all__ = ["augmenting", "fill_of", "require_images_of"]


def augmenting(augmentation: AugmentationPolicy | Schedule, data: Supervised) -> Augment:
    """What `fphi.within.training.NetworkTraining.train` takes: the images as read, augmented, standardised.

    Raises:
        FphiError: the examples are no images, or neither grey nor in three colours.
    """
    mean, deviation = require_images_of(data)

    def augment(x: Tensor, epoch: int, generator: torch.Generator) -> Tensor:
        policy = augmentation.policy(epoch) if isinstance(augmentation, Schedule) else augmentation
        images = ((x * deviation + mean) / 255).clamp(0, 1)
        return (255 * policy(images, policy.draw(len(x), generator)) - mean) / deviation

    return augment


def fill_of(data: Supervised) -> Fill:
    """The mean colour of the training images, in grey levels, as AutoAugment fills up with it.

    Raises:
        FphiError: see `augmenting`.
    """
    mean, _ = require_images_of(data)
    return tuple(float(f"{level:.4g}") for level in mean.flatten().tolist())


def require_images_of(data: Supervised) -> tuple[Tensor, Tensor]:
    """By what the images were standardised: mean and deviation of their grey levels, ``[C, 1, 1]`` each.

    Raises:
        FphiError: see `augmenting`.
    """
    if data.levels is None or data.input_shape[0] not in (1, 3):
        raise FphiError(
            f"the examples of {data.name} have shape {list(data.input_shape)}, and augmentation takes images "
            "with one channel or three; choose other data"
        )
    return data.levels
