"""What is drawn for each image, and how a batch is changed by it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from fphi.errors import FphiError
from fphi.learnable.augmentation.checking import (
    Fill,
    checked_fill,
    make_plain,
    require_images,
    require_numbers,
    require_range,
)
from fphi.learnable.augmentation.operations import CHANCES, FILL, OPERATIONS, augmented
from fphi.learnable.augmentation.scales import ScaleName, scale_of
from fphi.ranges import Range, number, require_number, require_ranges

__all__ = ["AugmentationPolicy", "Plan", "Policy", "Step"]

_ORDER = tuple(OPERATIONS)


@dataclass(frozen=True)
class Plan:
    """What is done to each of n images, in up to k steps.

    Args:
        operations: places in `OPERATIONS`, -1 for nothing, ``[n, k]``.
        magnitudes: ``[n, k]``.
        chance: random numbers in [0, 1) for the operations, ``[n, k, CHANCES]``.
    """

    operations: Tensor
    magnitudes: Tensor
    chance: Tensor


class AugmentationPolicy(ABC):
    """φ: what is done to training images, drawn anew for each image. Subclasses are frozen dataclasses."""

    scale: ScaleName
    fill: Fill

    @property
    @abstractmethod
    def numbers(self) -> int:
        """How many random numbers one image takes."""

    @abstractmethod
    def plan(self, chance: Tensor) -> Plan:
        """What is done to each image, of random numbers in [0, 1), ``[n, numbers]``."""

    def draw(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Random numbers for so many images, on the CPU whatever the images are on."""
        return torch.rand(count, self.numbers, dtype=torch.float64, generator=generator)

    def __call__(self, images: Tensor, chance: Tensor, others: Tensor | None = None) -> Tensor:
        """The images, augmented: a function of the arguments alone.

        Args:
            images: ``[n, C, H, W]`` in 0 … 1, one channel or three; they are not normalised yet.
            chance: from `draw`.
            others: images that SamplePairing pairs with; None: these.

        Raises:
            FphiError: they are no such images.
        """
        require_images(images)
        require_range(images)
        require_numbers("the chance", chance, len(images), self.numbers)
        plan = self.plan(chance.cpu())
        return augmented(
            images,
            plan.operations,
            plan.magnitudes,
            plan.chance,
            scale=self.scale,
            others=others,
            fill=self.fill,
        )


@dataclass(frozen=True)
class Step:
    """One operation of a sub-policy.

    Args:
        operation: a name of `OPERATIONS`.
        probability: that it is applied.
        magnitude: how strongly, on the policy's scale.

    Raises:
        FphiError: an argument is out of its range.
    """

    operation: str
    probability: float = number(1.0, 0, 1)
    magnitude: float = number(0.0, 0, 10)

    def __post_init__(self) -> None:
        """Refuse what is no step."""
        if not isinstance(self.operation, str) or self.operation not in OPERATIONS:
            raise FphiError(f"there is no operation {self.operation!r}; there are {', '.join(OPERATIONS)}")
        require_ranges(Step, vars(self), self._named)
        make_plain(self, "probability", "magnitude")

    def require(self, most: float) -> None:
        """Refuse a magnitude that is none of a scale of 0 … ``most``."""
        require_number(self._named("magnitude"), self.magnitude, Range(0, most))

    def _named(self, name: str) -> str:
        return f"the {name} of {self.operation}"


@dataclass(frozen=True)
class Policy(AugmentationPolicy):
    """Sub-policies, one of which is drawn for each image; its steps fire with their probabilities, in order.

    The form of AutoAugment (arXiv 1805.09501), Fast AutoAugment (1905.00397) and DADA (2003.03780).

    Args:
        sub_policies: at least one, each of any number of steps.
        scale: what the magnitudes mean.
        fill: one grey level of 0 … 255 or three, of what comes from outside an image or is cut out of it.

    Raises:
        FphiError: an operation, a probability, a magnitude, the scale or the fill is none.
    """

    sub_policies: tuple[tuple[Step, ...], ...]
    scale: ScaleName = "autoaugment"
    fill: Fill = number(FILL, 0, 255)

    def __post_init__(self) -> None:
        """Refuse what is no policy."""
        require_ranges(Policy, vars(self))
        checked_fill(self.fill)
        make_plain(self, "sub_policies", "fill")
        most = scale_of(self.scale).most
        if not self.sub_policies:
            raise FphiError("a policy has no sub-policies; give at least one")
        for sub_policy in self.sub_policies:
            for step in sub_policy:
                step.require(most)

    @classmethod
    def of(
        cls,
        sub_policies: Sequence[Sequence[tuple[str, float, float]]],
        scale: ScaleName = "autoaugment",
        fill: Fill = FILL,
    ) -> "Policy":
        """The policy of (operation, probability, magnitude).

        >>> Policy.of([[("Rotate", 0.7, 2), ("Invert", 0.1, 0)]]).sub_policies[0][0].probability
        0.7
        """
        try:
            rows = tuple(tuple(Step(*step) for step in steps) for steps in sub_policies)
        except TypeError as error:
            raise FphiError(
                "a policy is made of lists of (operation, probability, magnitude), a list for each sub-policy"
            ) from error
        return cls(rows, scale, fill)

    @property
    def steps(self) -> int:
        """Of the longest sub-policy."""
        return max(len(steps) for steps in self.sub_policies)

    @property
    def numbers(self) -> int:
        return 1 + self.steps * (1 + CHANCES)

    @cached_property
    def _tables(self) -> tuple[Tensor, Tensor, Tensor]:
        """Operations, probabilities and magnitudes, ``[sub-policies, steps]``."""
        shape = len(self.sub_policies), self.steps
        operations = torch.full(shape, -1)
        probabilities, magnitudes = torch.zeros(2, *shape, dtype=torch.float64)
        for i, steps in enumerate(self.sub_policies):
            for j, step in enumerate(steps):
                operations[i, j] = _ORDER.index(step.operation)
                probabilities[i, j], magnitudes[i, j] = step.probability, step.magnitude
        return operations, probabilities, magnitudes

    def plan(self, chance: Tensor) -> Plan:
        operations, probabilities, magnitudes = self._tables
        count = len(operations)
        drawn = (chance[:, 0] * count).long().clamp(max=count - 1)
        fires = chance[:, 1 : 1 + self.steps] < probabilities[drawn]
        rest = chance[:, 1 + self.steps :].reshape(len(chance), self.steps, CHANCES)
        return Plan(torch.where(fires, operations[drawn], -1), magnitudes[drawn], rest)
