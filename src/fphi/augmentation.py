"""Learned and fixed augmentation for any training loop: a policy as a module, from one JSON file."""

from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.learnable.augmentation import (
    PUBLISHED,
    AugmentationPolicy,
    PBAPolicy,
    Policy,
    PolicySpace,
    RandAugment,
    Schedule,
    Step,
    TrivialAugment,
    operate,
)
from fphi.learnable.augmentation import published as published_policy
from fphi.ranges import Range, checked
from fphi.run.disk.augmentations import Augmenting, read_augmentation, read_lines, write_augmentation

__all__ = [
    "PUBLISHED", "Augmentation", "AugmentationPolicy", "PBAPolicy", "Policy", "PolicySpace", "RandAugment",
    "Schedule", "Step", "TrivialAugment", "load", "load_log", "operate", "published",
]  # fmt: skip

Images = TypeVar("Images", Tensor, Image.Image)

_MODES = ("L", "RGB")


class Augmentation(nn.Module):
    """Augments images in training mode, each anew; in evaluation mode it gives them back as they are.

    It has no parameters. The random numbers are torch's own (so `torch.manual_seed` and the seeds of a
    loader's workers decide), or those of a generator that is given; they are drawn on the CPU, and so are
    the same whatever the images are on.

    Args:
        policy: what is drawn for each image, or a schedule of policies, which goes by `set_epoch`.

    >>> import fphi
    >>> augment = fphi.augmentation.published("trivialaugment")
    >>> augment(torch.rand(8, 3, 32, 32)).shape
    torch.Size([8, 3, 32, 32])
    """

    @checked()
    def __init__(self, policy: Augmenting) -> None:
        super().__init__()
        self.augmenting = policy
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._share()

    def _share(self) -> None:
        """Have workers that a loader keeps see the epoch that is set here."""
        if isinstance(self.augmenting, Schedule):
            with suppress(OSError, RuntimeError):  # without shared memory there are no workers either
                self._epoch.share_memory_()  # type: ignore[no-untyped-call]

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._share()

    @property
    def epoch(self) -> int:
        """That is trained, the first being 0."""
        return int(self._epoch)

    @property
    def policy(self) -> AugmentationPolicy:
        """The policy of the epoch."""
        policy = self.augmenting
        return policy.policy(self.epoch) if isinstance(policy, Schedule) else policy

    @checked(epoch=Range(0, 2**53))
    def set_epoch(self, epoch: int) -> None:
        """Say which epoch is trained, the first being 0: a schedule's policy is that of the epoch.

        The workers of a loader hear it too, those that it keeps (``persistent_workers``) among them.
        """
        self._epoch.fill_(epoch)

    def forward(self, images: Images, generator: torch.Generator | None = None) -> Images:
        """Augment a batch or one image.

        Args:
            images: ``[n, C, H, W]`` or ``[C, H, W]``, floats in 0 … 1 or uint8, not normalised; or a Pillow
                image of mode L or RGB. SamplePairing mixes the images of a batch, and leaves a single one.
            generator: of the random numbers; None: torch's own.

        Returns:
            New images of the same kind and size.

        Raises:
            FphiError: they are no such images.
        """
        if not self.training:
            return images
        _require(images, generator)
        if isinstance(images, Image.Image):
            return self._one_of_pillow(images, generator)
        batch = images if images.dim() == 4 else images[None]
        if batch.dtype == torch.uint8:
            floats = self._augmented(batch.float() / 255, generator)
            augmented = (255 * floats).round().to(torch.uint8)
        else:
            augmented = self._augmented(batch, generator)
        return augmented if images.dim() == 4 else augmented[0]

    def _augmented(self, batch: Tensor, generator: torch.Generator | None) -> Tensor:
        policy = self.policy
        return policy(batch, policy.draw(len(batch), generator))

    def _one_of_pillow(self, image: Image.Image, generator: torch.Generator | None) -> Image.Image:
        if image.mode not in _MODES:
            raise FphiError(f"an image is of mode {image.mode}; make it one of L or RGB by convert()")
        pixels = torch.from_numpy(np.array(image)).reshape(image.height, image.width, -1).permute(2, 0, 1)
        augmented = self.forward(pixels, generator).permute(1, 2, 0)
        return Image.fromarray(augmented.numpy() if image.mode == "RGB" else augmented[..., 0].numpy())

    @checked()
    def stretched(self, epochs: int) -> "Augmentation":
        """For a training of so many epochs; only a schedule differs."""
        policy = self.augmenting
        return Augmentation(policy.stretched(epochs) if isinstance(policy, Schedule) else policy)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the policy or schedule as JSON.

        Raises:
            FphiError: it cannot be written.
        """
        write_augmentation(Path(path), self.augmenting)

    def extra_repr(self) -> str:
        if isinstance(self.augmenting, Schedule):
            return f"{len(self.augmenting.segments)} policies, {self.augmenting.epochs} epochs"
        return type(self.augmenting).__name__


def _require(images: object, generator: object) -> None:
    if not isinstance(images, Tensor | Image.Image):
        raise FphiError(
            f"images are a {type(images).__name__}; give a tensor [n, C, H, W] or [C, H, W], or an image of "
            "Pillow"
        )
    if isinstance(images, Image.Image) and 0 in images.size:
        raise FphiError(f"an image is of {images.width}x{images.height} pixels; give one of at least one")
    if generator is not None and not isinstance(generator, torch.Generator):
        raise FphiError(f"generator is a {type(generator).__name__}; give a torch.Generator, or None")


@checked()
def load(path: str | PathLike[str]) -> Augmentation:
    """The augmentation that `Augmentation.save` wrote, or that a search has found.

    Args:
        path: of the file, or of the folder of a search.

    Raises:
        FphiError: there is no such file, or it holds no policy and no schedule.
    """
    return Augmentation(read_augmentation(Path(path)))


@checked()
def load_log(path: str | PathLike[str], epochs: int) -> Augmentation:
    """The schedule in a log of Population Based Augmentation, in the form of its authors' code.

    Args:
        path: of the log of the best trial's lineage.
        epochs: of the search.

    Raises:
        FphiError: there is no such file, or it holds no such log.
    """
    try:
        return Augmentation(Schedule.of_log(read_lines(Path(path)), epochs))
    except FphiError as error:
        if str(path) in str(error):
            raise
        raise FphiError(f"{path}: {error}") from error


def published(name: str) -> Augmentation:
    """A policy or schedule of the literature: a name of `PUBLISHED`.

    Raises:
        FphiError: none has it.
    """
    return Augmentation(published_policy(name))
