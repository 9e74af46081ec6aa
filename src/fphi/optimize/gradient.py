"""Step 3 where L is differentiable: gradient descent on φ with a torch optimizer, schedule and clipping."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.optimize.restored import restore_optimizer
from fphi.ranges import Range, checked

__all__ = ["GradientDescent", "Schedule", "constant", "cosine", "linear_to_zero"]

# Progress of the training in 0..1 to a factor of the learning rate.
Schedule = Callable[[float], float]


def constant() -> Schedule:
    """The learning rate as it is."""
    return lambda progress: 1.0


def cosine(final: float = 0.0) -> Schedule:
    """From 1 down to ``final`` along half a cosine.

    >>> [round(cosine(0.1)(p), 3) for p in (0, 0.5, 1)]
    [1.0, 0.55, 0.1]
    """
    return lambda progress: final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2


def linear_to_zero() -> Schedule:
    """From 1 down to 0 in a line (Reptile's ε)."""
    return lambda progress: 1 - progress


class GradientDescent:
    """A torch optimizer over φ, with a schedule of its rate and with clipping.

    Args:
        optimizer: over the learner's parameters.
        schedule: factor of the learning rate by progress.
        clip_norm: the largest norm of the gradient of each of the optimizer's parameter groups; None: any.
        clip_value: the largest absolute value of a gradient's entry (MAML on miniImageNet: 10).

    >>> import fphi
    >>> learner = fphi.GradientLearner(nn.Linear(4, 5), fphi.sgd(0.1), steps=1)
    >>> outer = GradientDescent(torch.optim.Adam(learner.parameters(), lr=1e-3))
    >>> examples = fphi.Examples(torch.ones(2, 5, 4), torch.arange(5).expand(2, 5))
    >>> for _ in range(3):
    ...     loss, gradients = fphi.meta_gradient(learner, fphi.Task(examples, examples))
    ...     outer.step(learner, gradients)
    """

    @checked(clip_norm=Range(0, open=True), clip_value=Range(0, open=True))
    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule | None = None,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        self.optimizer, self.schedule = optimizer, schedule or constant()
        self.clip_norm, self.clip_value = clip_norm, clip_value
        self._rates = [float(group["lr"]) for group in optimizer.param_groups]

    def step(self, learner: nn.Module, gradients: dict[str, Tensor], progress: float = 0.0) -> None:
        """Move the parameters by one step against the gradients.

        Args:
            learner: whose parameters the optimizer was built over.
            gradients: by parameter name, as `meta_gradient` gives them.
            progress: the fraction of the training that is done, by which the schedule sets the rate.

        Raises:
            FphiError: a gradient is of no parameter of the learner.
        """
        parameters = dict(learner.named_parameters())
        for name, gradient in gradients.items():
            own = parameters.get(name)
            if own is None or own.shape != gradient.shape or own.dtype != gradient.dtype:
                has = "no such parameter" if own is None else f"one of {list(own.shape)} in {own.dtype}"
                raise FphiError(
                    f"there is a gradient {name} of {list(gradient.shape)} in {gradient.dtype}, and the "
                    f"learner has {has}; give those of its own meta_gradient"
                )
            own.grad = gradient
        touched = [parameters[name] for name in gradients]
        if self.clip_value is not None:
            torch.nn.utils.clip_grad_value_(touched, self.clip_value)
        if self.clip_norm is not None:
            for group in self.optimizer.param_groups:
                torch.nn.utils.clip_grad_norm_(group["params"], self.clip_norm)
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * self.schedule(progress)
        self.optimizer.step()

    @property
    def learning_rate(self) -> float:
        """The rate of the last step, of the first parameter group."""
        return float(self.optimizer.param_groups[0]["lr"])

    def state_dict(self) -> dict[str, Any]:
        return self.optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of such an optimizer; see `restore_optimizer`."""
        restore_optimizer(self.optimizer, state)
