"""The settings of the search of DADA (arXiv 2003.03780)."""

from dataclasses import dataclass
from typing import Literal

from fphi.errors import FphiError
from fphi.optimize.two_level import require_descent

__all__ = ["DadaPhase"]


@dataclass(frozen=True)
class DadaPhase:
    """How the policy and the network learn; the defaults are the paper's, of CIFAR-10, but for c.

    Args:
        epochs: of the training examples.
        batch_size: images of a training and of a validation minibatch.
        estimator: "relax", or "reinforce", without a control variate.
        derivative: through the network's next step: by finite difference, or exact, which takes twice the
            memory.
        scale: distance from θ to the two points of the difference.
        lr: of the network in the first step; it falls along half a cosine.
        lr_end: to this.
        momentum: of the network.
        weight_decay: of the network.
        clip_norm: longest gradient of the network.
        policy_lr: of the policy, by Adam with β = (0.5, 0.999).
        control_lr: of the control variate c, by such an Adam (paper: 5e-3, for many more steps).
        temperature: τ, of what c is given.
        shift: move images by up to an eighth of their side, and mirror coloured ones, before the policy.
        cutout: side of a square that is set to the mean after it; 0: none.
        sub_policies: the heaviest of these are the result.
    """

    epochs: int = 20
    batch_size: int = 128
    estimator: Literal["relax", "reinforce"] = "relax"
    derivative: Literal["difference", "exact"] = "difference"
    scale: float = 0.01
    lr: float = 0.1
    lr_end: float = 0.0
    momentum: float = 0.9
    weight_decay: float = 2e-4
    clip_norm: float = 5.0
    policy_lr: float = 5e-3
    control_lr: float = 1e-3
    temperature: float = 0.5
    shift: bool = True
    cutout: int = 0
    sub_policies: int = 25

    def __post_init__(self) -> None:
        """Refuse what learns nothing."""
        require_descent(self)
        if min(self.policy_lr, self.control_lr, self.cutout) < 0 or min(self.scale, self.temperature) <= 0:
            raise FphiError(
                f"policy_lr={self.policy_lr}, control_lr={self.control_lr}, cutout={self.cutout}, scale="
                f"{self.scale}, temperature={self.temperature}: the first three are from 0, the others above"
            )
        if self.sub_policies < 1:
            raise FphiError(f"sub_policies={self.sub_policies}: a policy has at least 1")
