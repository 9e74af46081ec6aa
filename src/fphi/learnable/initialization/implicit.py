"""Implicit MAML: the meta-gradient of where the inner loop ends, not of the way there."""

from functools import partial
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.learnable.base import Loss
from fphi.learnable.initialization.gradient_learner import GradientLearner
from fphi.networks.batch_norm import network_pass
from fphi.ranges import Range, checked
from fphi.tasks.types import Examples, Task
from fphi.within.by_hand import second_derivatives
from fphi.within.implicit import Solve, conjugate_gradient, implicit_gradient
from fphi.within.optimizers import InnerOptimizer, Parameters, UpdateRule
from fphi.within.stand_in import own_parameters
from fphi.within.surroundings import ordinary
from fphi.within.task_map import Batching, is_costly
from fphi.within.unroll import last_of

__all__ = ["ImplicitLearner"]


_FIVE_STEPS = partial(conjugate_gradient, steps=5, tasks=True)


class ImplicitLearner(GradientLearner):
    """A `GradientLearner` that descends on l_S(θ) + λ/2 ‖θ - φ‖², and is differentiated at its minimum.

    With θ* near that minimum the meta-gradient is (I + ∇²l_S(θ*)/λ)⁻¹ ∇l_Q(θ*), of which the inverse takes a
    few products with the Hessian (Rajeswaran et al. 2019, arXiv 1909.04630). No step is kept for it: the
    memory is that of one, however many there are. Far from the minimum it is biased; autograd through `solve`
    gives the derivative through the steps.

    Args:
        network: see `GradientLearner`.
        optimizer: see `GradientLearner`; what it could learn has no gradient, since a minimum does not depend
            on the way to it.
        steps: inner steps in training.
        strength: λ, how much the parameters are held at φ; steps of ``sgd(α)`` arrive where it is below 2/α.
        inverse: solves for each task by products with I λ + ∇²l_S; its tensors are ``[tasks, ...]``.
        loss: scalar loss of one task, for support and query alike.
        adapts: ``"all"`` parameters, or those of the ``"head"``.
        test_steps: inner steps in ``eval()``; None: as in training.
        batching: see `LearningAlgorithm`.

    Raises:
        FphiError: the optimizer's steps on λ/2 ‖θ - φ‖² grow without end.
    """

    @checked(steps=Range(0), test_steps=Range(0), strength=Range(0, open=True))
    def __init__(
        self,
        network: nn.Module,
        optimizer: UpdateRule,
        steps: int,
        *,
        strength: float = 2.0,
        inverse: Solve = _FIVE_STEPS,
        loss: Loss = F.cross_entropy,
        adapts: Literal["all", "head"] = "all",
        test_steps: int | None = None,
        batching: Batching = "auto",
    ) -> None:
        super().__init__(
            network, optimizer, steps, loss=loss, adapts=adapts, test_steps=test_steps, batching=batching
        )
        self.strength, self.inverse = strength, inverse
        self._require_steps_that_end()

    def _require_steps_that_end(self) -> None:
        if not isinstance(self.optimizer, InnerOptimizer):
            return
        most = self.optimizer.most_curvature()
        if self.strength >= most:
            shorter = most / self.strength
            raise FphiError(
                f"strength is {self.strength:g}, and inner steps of this size grow without end from {most:g} "
                f"on: take a smaller one, or an inner learning rate below {shorter:.2g} times this"
            )

    def _support_loss(self, parameters: Parameters, x: Tensor, y: Tensor) -> Tensor:
        loss, initial = super()._support_loss(parameters, x, y), self.adaptable
        for name, p in parameters.items():
            loss = loss + self.strength / 2 * (p - initial[name]).square().sum()
        return loss

    def _differentiated(self, tasks: Task) -> tuple[Tensor, list[Tensor]]:
        if not self.adaptable:
            return super()._differentiated(tasks)
        return self.over_tasks.attempt(lambda: self._at_the_minimum(tasks))

    def _at_the_minimum(self, tasks: Task) -> tuple[Tensor, list[Tensor]]:
        support, query = tasks
        inputs, labels = ordinary(self._inputs(support.x)), ordinary(support.y)
        seen = Examples(inputs.detach(), labels)
        reached = last_of(self._trajectory(seen, seen.x, self.steps, order=0))
        theta = {name: p.detach().requires_grad_() for name, p in reached.items()}
        phi = {name: p for name, p in own_parameters(self).items() if p.requires_grad}

        def training() -> Tensor:
            costly = is_costly(self.part, inputs)
            with network_pass(step=self.steps, adapting=True), second_derivatives(True):
                return self.over_tasks(self._support_loss, theta, inputs, labels, costly=costly).sum()

        loss = self.losses(self._answers(theta, support.x, query.x, self.steps), query.y).sum()
        gradient = implicit_gradient(training, loss, theta, phi, self.inverse)
        return loss.detach(), list(gradient.values())
