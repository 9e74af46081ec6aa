"""Step 3 where L is differentiable: gradient descent on φ with a torch optimizer, schedule and clipping."""

import math
from collections.abc import Callable
from inspect import Parameter, signature
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
        optimizer: over the learner's parameters. Its rates may be changed between steps, by hand or by one of
            torch's schedulers.
        schedule: factor of the learning rate by progress; None: the rate as it is.
        clip_norm: the largest norm of the gradient of each of the optimizer's parameter groups; None: any.
        clip_value: the largest absolute value of a gradient's entry (MAML on miniImageNet: 10).

    Raises:
        FphiError: the optimizer has to be given the loss again and again, as LBFGS.

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
        _require_step_by_gradient(optimizer)
        self.optimizer, self.schedule = optimizer, schedule or constant()
        self.clip_norm, self.clip_value = clip_norm, clip_value
        self._last_rate: float | None = None
        if schedule is not None:
            self._keep_rates()

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
        self._set_gradients({parameters[name]: gradient for name, gradient in gradients.items()})
        self._step_at(self.schedule(progress))

    def _set_gradients(self, gradients: dict[nn.Parameter, Tensor]) -> None:
        """Copies of these and no earlier ones, clipped: clipping changes them, and some optimizers do."""
        self.optimizer.zero_grad(set_to_none=True)  # of what has been frozen since, too
        for parameter, gradient in gradients.items():
            parameter.grad = gradient.clone()
        if self.clip_value is not None:
            torch.nn.utils.clip_grad_value_(list(gradients), self.clip_value)
        if self.clip_norm is not None:
            for group in self.optimizer.param_groups:
                torch.nn.utils.clip_grad_norm_(group["params"], self.clip_norm)

    def _step_at(self, factor: float) -> None:
        """One step at this multiple of the rates, which are afterwards what they were."""
        groups = self.optimizer.param_groups
        rates = [group["lr"] for group in groups]
        for group in groups:
            group["lr"] = group["lr"] * factor
        try:
            self.optimizer.step()
            self._last_rate = float(groups[0]["lr"])
        finally:
            for group, rate in zip(groups, rates, strict=True):
                group["lr"] = rate

    def _keep_rates(self) -> None:
        """A state that is loaded leaves the rates alone: one of before has that of its last step."""
        rates = [group["lr"] for group in self.optimizer.param_groups]

        def put_back(optimizer: torch.optim.Optimizer) -> None:
            for group, rate in zip(optimizer.param_groups, rates, strict=False):  # some may be new
                group["lr"] = rate

        self.optimizer.register_load_state_dict_post_hook(put_back)

    @property
    def learning_rate(self) -> float:
        """The rate of the last step, or of the next before there is any, of the first parameter group."""
        return float(self.optimizer.param_groups[0]["lr"]) if self._last_rate is None else self._last_rate

    def state_dict(self) -> dict[str, Any]:
        return self.optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of such an optimizer; with a schedule, its rates are those of this one."""
        restore_optimizer(self.optimizer, state)


def _require_step_by_gradient(optimizer: torch.optim.Optimizer) -> None:
    """Raise if a step needs more than the gradient."""
    given = signature(optimizer.step).parameters.values()
    kinds = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    if any(p.default is Parameter.empty and p.kind not in kinds for p in given):
        raise FphiError(
            f"{type(optimizer).__name__} computes the loss anew within a step, for which a meta-gradient is "
            "not enough; give an optimizer that steps by the gradient, as torch.optim.Adam"
        )
