"""Settings of a weight-sharing search: how the shared weights ω learn, and how the controller."""

import math
from dataclasses import dataclass

from fphi.errors import FphiError

__all__ = ["ControllerPhase", "SharedPhase", "cosine_restarts"]


@dataclass(frozen=True)
class SharedPhase:
    """How ω learns: SGD with Nesterov momentum, cosine restarts, and one child for each minibatch.

    Args:
        batch_size: images (paper: 160 micro, 128 macro).
        lr: at the start of each period.
        lr_min: at its end.
        period: epochs of the first period (T0).
        factor: each period is that many times longer than the one before.
        momentum: of Nesterov.
        weight_decay: l2 of the weights that the child uses; what it does not use stays as it is.
        clip_norm: of the gradient.
    """

    batch_size: int = 64
    lr: float = 0.05
    lr_min: float = 0.0005
    period: int = 10
    factor: int = 2
    momentum: float = 0.9
    weight_decay: float = 1e-4
    clip_norm: float = 5.0

    def __post_init__(self) -> None:
        """Refuse what trains nothing."""
        if min(self.batch_size, self.period, self.factor) < 1 or not 0 < self.lr_min <= self.lr:
            raise FphiError(
                f"batch_size={self.batch_size}, period={self.period}, factor={self.factor}, lr={self.lr}, "
                f"lr_min={self.lr_min}: the first three must be at least 1, and 0 < lr_min <= lr"
            )


@dataclass(frozen=True)
class ControllerPhase:
    """How the controller learns: REINFORCE with Adam, and a reward that counts entropy too.

    Args:
        steps: in each epoch (paper: 30 micro, 50 macro).
        samples: children for each step (paper: 10 micro, 20 macro).
        batch_size: images of the validation minibatch that a reward is the accuracy on.
        lr: Adam's.
        entropy: weight of the child's entropy in its reward.
        decay: of the moving average of the rewards that is the baseline.
        skip_target: share of possible skip connections that there should be; None: any.
        skip_weight: of the divergence of each skip's probability from it.
    """

    steps: int = 30
    samples: int = 10
    batch_size: int = 64
    lr: float = 3.5e-3
    entropy: float = 1e-4
    decay: float = 0.99
    skip_target: float | None = None
    skip_weight: float = 0.8

    def __post_init__(self) -> None:
        """Refuse what learns nothing."""
        if min(self.steps, self.samples, self.batch_size) < 1:
            raise FphiError(
                f"steps={self.steps}, samples={self.samples}, batch_size={self.batch_size}: "
                "the controller needs at least 1 of each"
            )
        if self.skip_target is not None and not 0 < self.skip_target < 1:
            raise FphiError(f"skip_target is {self.skip_target}; it must be between 0 and 1")


def cosine_restarts(epoch: float, high: float, low: float, period: int, factor: int) -> float:
    """The learning rate after ``epoch`` epochs (Loshchilov and Hutter, ICLR 2017, arXiv 1608.03983).

    >>> [round(cosine_restarts(e, 0.05, 0.0005, 10, 2), 5) for e in (0, 5, 10, 20, 29.999)]
    [0.05, 0.02525, 0.05, 0.02525, 0.0005]
    """
    while epoch >= period:
        epoch -= period
        period *= factor
    return low + (high - low) * (1 + math.cos(math.pi * epoch / period)) / 2
