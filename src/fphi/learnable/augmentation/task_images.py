"""A policy as what is done to the images of training tasks, support sets and queries."""

import torch
from torch import Tensor

from fphi.errors import FphiError
from fphi.learnable.augmentation.checking import Fill
from fphi.learnable.augmentation.policy import AugmentationPolicy
from fphi.tasks.few_shot import Change, FewShotTasks

__all__ = ["changing", "fill_of_tasks"]


def changing(policy: AugmentationPolicy) -> Change:
    """For `FewShotTasks.with_training_images`: each image is drawn for, by the number of its task."""

    def change(images: Tensor, key: int) -> Tensor:
        generator = torch.Generator().manual_seed(key >> 1)
        return policy(images, policy.draw(len(images), generator))

    return change


def fill_of_tasks(tasks: FewShotTasks) -> Fill:
    """The mean colour of the training images, in grey levels.

    Raises:
        FphiError: they are neither grey nor in three colours.
    """
    images = tasks.pool("train").images
    if images.shape[1] not in (1, 3):
        raise FphiError(f"images have {images.shape[1]} channels, and augmentation takes one or three")
    means = images.mean(axis=(0, 2, 3))
    return tuple(float(f"{255 - mean if tasks.invert else mean:.4g}") for mean in means.tolist())
