"""Gradient descent as a learning algorithm, with every block of the lecture's diagram replaceable."""

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.learnable.base import (
    AnswersAtTest,
    LearningAlgorithm,
    Loss,
    each_query_alone,
    over_network,
    run_network,
)
from fphi.learnable.initialization.adapted import answers_with
from fphi.learnable.initialization.minibatches import minibatch_rows
from fphi.learnable.initialization.parts import require_head_after_body
from fphi.learnable.initialization.recomputing import descend_again
from fphi.learnable.initialization.stages import StagedSteps
from fphi.learnable.initialization.step_weights import LossAfter, StepWeights, sum_of, summing, with_sum
from fphi.networks.batch_norm import network_pass, norm_modes, per_step_parameters, set_steps
from fphi.ranges import Range, checked
from fphi.tasks.types import Examples, Task
from fphi.within.by_hand import second_derivatives
from fphi.within.optimizers import InnerOptimizer, Parameters, State, UpdateRule
from fphi.within.refusal import (
    is_missing_derivative,
    no_second_derivative,
    require_graph,
    require_second_derivatives,
)
from fphi.within.stand_in import own_parameters
from fphi.within.surroundings import ordinary
from fphi.within.task_map import Batching, TaskMap, call_network, is_costly
from fphi.within.unroll import DerivativeOrder, StepFrom, descend, last_of

__all__ = ["GradientLearner"]

_ALL_FROZEN = "no parameter of {} that could be adapted requires a gradient: inner steps change nothing"


class GradientLearner(StagedSteps, LearningAlgorithm):
    """Start from learned parameters, take a few gradient steps on the support set, answer the queries.

    MAML (order 2), FOMAML (order 1), ANIL (``adapts="head"``), Meta-SGD (learned rates) and MAML++ (norms and
    rates of each step, ``first_order_until``, ``step_weights``) are settings of it. φ = the network's
    parameters and the optimizer's.

    Args:
        network: any ``nn.Module``; with ``adapts="head"`` one that has ``body`` and ``head``. Its `BatchNorm`
            layers of modes ``per-step`` get a scale and shift for each of ``steps``, learned and not adapted.
        optimizer: the update rule, e.g. ``fphi.sgd(0.4)``, or your own: see `UpdateRule`. It is copied.
        steps: inner steps in training, m.
        order: 2 differentiates through the steps, 1 takes their gradients as constants.
        loss: scalar loss of one task, for support and query alike.
        adapts: ``"all"`` parameters, or those of the ``"head"``.
        test_steps: inner steps in ``eval()``; None: as in training.
        minibatch: support examples per inner step, each once before any comes again; None: all.
        test_minibatch: the same in ``eval()``; None: as in training.
        memory: ``"stored"`` keeps all steps' activations, ``"recomputed"`` one's, and computes each thrice.
        first_order_until: the fraction of a training, see `fphi.tell_progress`, before which the order is 1.
        step_weights: how much the query loss after each step counts in training; None: the last alone.
        batching: see `LearningAlgorithm`.
    """

    @checked(steps=Range(0), test_steps=Range(0), first_order_until=Range(0, 1))
    def __init__(
        self,
        network: nn.Module,
        optimizer: UpdateRule,
        steps: int,
        *,
        order: Literal[1, 2] = 2,
        loss: Loss = F.cross_entropy,
        adapts: Literal["all", "head"] = "all",
        test_steps: int | None = None,
        minibatch: int | None = None,
        test_minibatch: int | None = None,
        memory: Literal["stored", "recomputed"] = "stored",
        first_order_until: float = 0.0,
        step_weights: StepWeights | None = None,
        batching: Batching = "auto",
    ) -> None:
        super().__init__(loss, batching)
        if adapts == "head" and not (hasattr(network, "body") and hasattr(network, "head")):
            raise FphiError(
                f"adapts='head' needs a network with .body and .head, not {type(network).__name__}"
            )
        self.network, self.optimizer = network, copy.deepcopy(optimizer)
        self.steps, self.test_steps = steps, steps if test_steps is None else test_steps
        self.order: Literal[1, 2] = order
        self.adapts, self.memory = adapts, memory
        self.minibatch, self.test_minibatch = minibatch, test_minibatch or minibatch
        self.first_order_until, self.step_weights = first_order_until, step_weights
        set_steps(network, steps)
        self._not_adapted = per_step_parameters(self.part)
        if isinstance(self.optimizer, InnerOptimizer):
            self.optimizer.register(self.adaptable)

    @property
    def part(self) -> nn.Module:
        """The part of the network that is adapted."""
        return self.network if self.adapts == "all" else self.network.get_submodule("head")

    @property
    def adaptable(self) -> Parameters:
        """The initial values of what inner steps move; what requires no gradient stays as it is."""
        own, left = own_parameters(self.part), self._not_adapted
        return {name: p for name, p in own.items() if p.requires_grad and name not in left}

    def numbers_at_once(self) -> int:
        return sum(p.numel() for p in self.adaptable.values())

    def adapt(self, support: Examples) -> Parameters:
        """θ' = F_φ(S) for one task: the network's parameters by name, the adapted ones replaced."""
        batch = Examples(support.x[None], support.y[None])
        trajectory = self._trajectory(batch, self._inputs(batch.x), self._steps_now(), self._order_now())
        adapted = last_of(trajectory)
        prefix = "" if self.adapts == "all" else "head."
        return {**own_parameters(self.network), **{prefix + k: p[0] for k, p in adapted.items()}}

    def predict(self, parameters: Parameters, x: Tensor, support_x: Tensor | None = None) -> Tensor:
        """Outputs ``[m, ways]`` with adapted ``parameters`` for ``x: [m, *input]``; see `answers_with`."""
        return answers_with(self.network, parameters, x, support_x, self.over_tasks, self._steps_now())

    def solve(self, support: Examples, query_x: Tensor, steps: int | None = None) -> Tensor:
        """See `LearningAlgorithm.solve`; ``steps``: inner steps, None: as many as it takes."""
        return self.answering(support, steps)(query_x)

    def answering(self, support: Examples, steps: int | None = None) -> Callable[[Tensor], Tensor]:
        """See `LearningAlgorithm.answering`, and `solve`."""
        steps = self._steps_now() if steps is None else steps
        inputs = self._inputs(support.x)
        adapted = last_of(self._trajectory(support, inputs, steps, self._order_now()))
        return lambda query_x: self._answers_to((inputs, self._asked(support.x, query_x)), adapted, steps)

    def solve_alone(self, support: Examples, query_x: Tensor) -> Tensor:
        with each_query_alone(self):
            return self.solve(support, query_x)

    @torch.no_grad()
    def answers_at_test(
        self, support: Examples, query_x: Tensor, steps: int | None = None, alone: bool = True
    ) -> AnswersAtTest:
        """See `LearningAlgorithm.answers_at_test`; all of them come of one adaptation, without a graph."""
        steps = max(self.test_steps, steps or 0)
        by_step, inductive, seen = [], None, self._seen(support.x, query_x)
        for step, now in enumerate(self._trajectory(support, seen[0], steps, order=0)):
            by_step.append(self._answers_to(seen, now, step))
            if alone and step == self.test_steps:
                with each_query_alone(self):
                    inductive = self._answers(now, support.x, query_x, step)
        return AnswersAtTest(by_step[self.test_steps], inductive, torch.stack(by_step))

    def task_losses(self, tasks: Task) -> Tensor:
        """lⁿ; with ``step_weights`` in training the weighted query losses after each inner step."""
        weights = self._weights_at(self.progress) if self.training else None
        if weights is None:
            return super().task_losses(tasks)
        support, query = tasks

        def loss_after(reached: Parameters, steps: int) -> Tensor:
            return self.losses(self._answers(reached, support.x, query.x, steps), query.y)

        return self._summed_losses(support, loss_after, weights)

    def observe(self, task: Task) -> None:
        """See `LearningAlgorithm.observe`; what norm layers store for a step is of that step."""
        if "per-step-running" not in norm_modes(self):
            super().observe(task)
            return
        looped = copy.copy(self)  # of the same network, whose layers collect
        looped.over_tasks = TaskMap("loop")
        support, query_x = Examples(task.support.x[None], task.support.y[None]), task.query.x[None]
        inputs = looped._inputs(support.x)
        for step, now in enumerate(looped._trajectory(support, inputs, self.steps, order=0)):
            looped._answers(now, support.x, query_x, step)

    def _steps_now(self) -> int:
        return self.steps if self.training else self.test_steps

    def _order_now(self) -> DerivativeOrder:
        if not torch.is_grad_enabled():
            return 0
        return 1 if self.training and self.progress < self.first_order_until else self.order

    def _inputs(self, x: Tensor) -> Tensor:
        """What the adapted part sees of ``x``: computed once where the body does not change."""
        if self.adapts == "all":
            return x
        require_head_after_body(self.network, x[0])
        return over_network(self.over_tasks, self.network.get_submodule("body"), None, x)

    def _answers(self, adapted: Parameters, support_x: Tensor, query_x: Tensor, step: int) -> Tensor:
        return self._answers_to(self._seen(support_x, query_x), adapted, step)

    def _seen(self, support_x: Tensor, query_x: Tensor) -> tuple[Tensor, Tensor]:
        """What the adapted part sees of a support and a query set, whatever step it is at."""
        return self._inputs(support_x), self._asked(support_x, query_x)

    def _asked(self, support_x: Tensor, query_x: Tensor) -> Tensor:
        if self.adapts == "all":
            return query_x
        return run_network(self.over_tasks, self.network.get_submodule("body"), None, support_x, query_x)

    def _answers_to(self, seen: tuple[Tensor, Tensor], adapted: Parameters, step: int) -> Tensor:
        return run_network(self.over_tasks, self.part, adapted, *seen, step)

    def _begin(self, support: Examples) -> Parameters:
        """Where each task begins, by name ``[B, *shape]``: at φ."""
        return {k: p.expand(len(support.x), *p.shape) for k, p in self.adaptable.items()}

    def _trajectory(
        self, support: Examples, inputs: Tensor, steps: int, order: DerivativeOrder
    ) -> Iterator[Parameters]:
        """The batched parameters before the first and after each step, up to ``steps`` of them.

        Where steps are recomputed, only those before the first and after the last.
        """
        given, now = Examples(ordinary(inputs), ordinary(support.y)), self._begin(support)
        state = self.optimizer.init(now)
        yield now
        if not now:
            if steps:
                warnings.warn(_ALL_FROZEN.format(type(self.part).__name__), stacklevel=2)
            yield from [now] * steps
            return
        if self.memory == "recomputed" and order > 0:
            yield descend_again(
                self, lambda seen: partial(self._step, seen), given, now, state, steps, order
            )[0]
            return
        for step in range(steps):
            now, state = self._step(given, now, state, step, order)
            yield now

    def _step(
        self, given: Examples, now: Parameters, state: State, step: int, order: DerivativeOrder
    ) -> tuple[Parameters, State]:
        x, y = given
        minibatch = self.minibatch if self.training else self.test_minibatch
        if minibatch is not None:
            rows = minibatch_rows(step, x.shape[1], minibatch).to(x.device)
            x, y = x[:, rows], y[:, rows]

        def losses(parameters: Parameters) -> Tensor:
            with network_pass(step=step, adapting=True), second_derivatives(order == 2):
                return self.over_tasks(self._support_loss, parameters, x, y, costly=is_costly(self.part, x))

        after = self.over_tasks.attempt(lambda: descend(losses, self.optimizer, now, state, step, order))
        if order == 2:
            require_graph(self.part, after[0].values())
        return after

    def summed_gradient(self, tasks: Task) -> tuple[Tensor, list[Tensor]]:
        """See `LearningAlgorithm.summed_gradient`.

        Raises:
            FphiError: order is 2, and a layer has no second derivative.
        """
        if self.order == 2:
            require_second_derivatives(self.part)
        try:
            return self._differentiated(tasks)
        except RuntimeError as error:
            if self.order == 1 or not is_missing_derivative(error):
                raise
            one = self._inputs(tasks.support.x[:1])[0]
            raise no_second_derivative(self.part, one, error) from error

    def _summed_losses(self, support: Examples, loss_after: LossAfter, weights: Sequence[float]) -> Tensor:
        """The sum of ``loss_after`` each step, times its weight."""
        given, now = Examples(ordinary(self._inputs(support.x)), ordinary(support.y)), self._begin(support)
        carried, order = with_sum(self.optimizer.init(now), given.x), self._order_now()

        def step_on(seen: Examples) -> StepFrom:
            return summing(partial(self._step, seen), loss_after, weights)

        if self.memory == "recomputed" and order > 0:
            return sum_of(descend_again(self, step_on, given, now, carried, len(weights), order)[1])
        for step in range(len(weights)):
            now, carried = step_on(given)(now, carried, step, order)
        return sum_of(carried)

    def _differentiated(self, tasks: Task) -> tuple[Tensor, list[Tensor]]:
        return super().summed_gradient(tasks)

    def _support_loss(self, parameters: Parameters, x: Tensor, y: Tensor) -> Tensor:
        return self.task_loss(call_network(self.part, parameters, x), y)
