"""Learned augmentation: operations on images, policies of them, and the space that they are chosen from."""

from fphi.learnable.augmentation.fixed import RandAugment, TrivialAugment
from fphi.learnable.augmentation.operations import CHANCES, FILL, NAMES, OPERATIONS, Operation, operate
from fphi.learnable.augmentation.policy import AugmentationPolicy, Plan, Policy, Step
from fphi.learnable.augmentation.population import PBA_OPERATIONS, PBAPolicy
from fphi.learnable.augmentation.population_space import PBASpace
from fphi.learnable.augmentation.published import PUBLISHED, published
from fphi.learnable.augmentation.scales import SCALES, Amount, Scale, ScaleName
from fphi.learnable.augmentation.schedule import Schedule
from fphi.learnable.augmentation.space import AugmentationSpace, PolicySpace
from fphi.learnable.augmentation.training_images import augmenting, fill_of

__all__ = [
    "AUGMENTATION_SPACES",
    "CHANCES",
    "FILL",
    "NAMES",
    "OPERATIONS",
    "PBA_OPERATIONS",
    "PUBLISHED",
    "SCALES",
    "Amount",
    "AugmentationPolicy",
    "AugmentationSpace",
    "Operation",
    "PBAPolicy",
    "PBASpace",
    "Plan",
    "Policy",
    "PolicySpace",
    "RandAugment",
    "Scale",
    "ScaleName",
    "Schedule",
    "Step",
    "TrivialAugment",
    "augmenting",
    "fill_of",
    "operate",
    "published",
]

AUGMENTATION_SPACES: dict[str, type[AugmentationSpace]] = {cls.name: cls for cls in (PolicySpace, PBASpace)}
