"""A learned optimizer as a learning algorithm: it trains a network from a random start."""

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fphi.learnable.base import Loss
from fphi.learnable.initialization.gradient_learner import GradientLearner
from fphi.learnable.initialization.recomputing import descend_again
from fphi.learnable.initialization.step_weights import sum_of, summing, with_sum, without_sum
from fphi.ranges import Range, checked
from fphi.tasks.types import Examples, Task
from fphi.within.optimizers import Parameters, State, UpdateRule
from fphi.within.stand_in import own_parameters
from fphi.within.surroundings import ordinary
from fphi.within.task_map import Batching
from fphi.within.unroll import DerivativeOrder, StepFrom

__all__ = ["OptimizerLearner"]

_WORK = 2048  # of the rule on one number, beside that of a step without a rule that is learned
_STORED = 2**26  # numbers that are carried from step to step of a stretch: beyond that its graph takes GB


class OptimizerLearner(GradientLearner):
    """Train a network on the support set from a random start; φ is the update rule alone.

    lⁿ is the query loss after each step, averaged over the steps: what is good is to be fast, and not only to
    arrive (Andrychowicz et al., NIPS 2016, arXiv 1606.04474). It is differentiated in stretches of ``unroll``
    steps: parameters and the rule's state go on from one stretch to the next, and no derivative does. φ can
    move after each of them: with ``stretches="one"`` a meta-step differentiates one stretch alone, whose
    number is drawn anew whenever `fphi.tell_progress` says how far training is, and walks up to it without
    derivatives. Times the number of stretches its gradient is on average that of all, for less work a step.

    The start is a function of the task, whose examples seed it, and of where the numbers of ``network`` are
    about. So all rules that are given the same network begin at the same place, and a task is the same
    whenever it comes.

    Args:
        network: the form of the network, and where the numbers of each of its tensors are about. It is no
            part of φ, and is not saved with it: the rule serves other networks too.
        optimizer: the update rule that is learned; see `GradientLearner`.
        steps: inner steps in training.
        unroll: steps that are differentiated together; None: all.
        stretches: how many of the stretches of a way each meta-step differentiates, ``"all"`` or ``"one"``.
        start: deviation of the numbers that the network starts from; None: each tensor's as in ``network``.
        memory: see `GradientLearner`; ``"auto"`` recomputes what would take gigabytes, as an LSTM does that
            keeps some hundred numbers for each weight of a large network and for each step.
        order: 1 takes gradients as constants, as the paper does; 2 does not.
        loss: see `GradientLearner`, as the rest.
        test_steps: see there.
        minibatch: see there.
        batching: see there.
    """

    tasks_at_once = 64

    @checked(steps=Range(0), test_steps=Range(0), start=Range(0))
    def __init__(
        self,
        network: nn.Module,
        optimizer: UpdateRule,
        steps: int,
        *,
        unroll: int | None = 20,
        stretches: Literal["all", "one"] = "all",
        start: float | None = None,
        memory: Literal["auto", "stored", "recomputed"] = "auto",
        order: Literal[1, 2] = 1,
        loss: Loss = F.cross_entropy,
        test_steps: int | None = None,
        minibatch: int | None = None,
        batching: Batching = "auto",
    ) -> None:
        super().__init__(
            network,
            optimizer,
            steps,
            order=order,
            loss=loss,
            test_steps=test_steps,
            minibatch=minibatch,
            memory="stored" if memory == "auto" else memory,
            batching=batching,
        )
        self.unroll, self.stretches, self.start = unroll, stretches, start
        self.recomputes_what_is_large = memory == "auto"
        # A plain attribute: torch counts the parameters of what is a module's own as the module's.
        del self.network
        self.__dict__["network"] = network

    def modules(self, remove_duplicate: bool = True) -> Iterator[nn.Module]:
        """With those of the network, whose norm layers decide on how queries are answered."""
        yield from super().modules(remove_duplicate)
        yield from self.network.modules(remove_duplicate)

    def train(self, mode: bool = True) -> Self:
        self.network.train(mode)
        return super().train(mode)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        self.network._apply(fn)  # type: ignore[no-untyped-call]
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    @property
    def is_staged(self) -> bool:
        return self.stretches == "one" and self.unroll is not None and self.unroll < self.steps

    def examples_at_once(self, tasks: Task) -> int:
        """The rule's work, which is on the network's numbers, is much more than that on examples."""
        return 1

    def numbers_at_once(self) -> int:
        return _WORK * super().numbers_at_once()

    def task_losses(self, tasks: Task) -> Tensor:
        """lⁿ ``[B]``: the query loss after each step, averaged over the steps."""
        stretches = list(self._stretches(tasks, self._order_now()))
        return torch.stack(stretches).sum(0) if stretches else super().task_losses(tasks)

    def summed_gradient(self, tasks: Task) -> tuple[Tensor, list[Tensor]]:
        """See `LearningAlgorithm.summed_gradient`; that of each stretch, summed."""
        wanted = [p for p in own_parameters(self).values() if p.requires_grad]

        def differentiated() -> tuple[Tensor, list[Tensor]]:
            total, sums = tasks.query.x.new_zeros(()), [torch.zeros_like(p) for p in wanted]
            for losses in self._stretches(tasks, self.order):
                part = losses.sum()
                total = total + part.detach()
                if part.requires_grad:
                    found = torch.autograd.grad(part, wanted, materialize_grads=True)
                    sums = [before + more for before, more in zip(sums, found, strict=True)]
            return total, sums

        return self.over_tasks.attempt(differentiated)

    def _stretches(self, tasks: Task, order: DerivativeOrder) -> Iterator[Tensor]:
        """Of each stretch that counts now the losses ``[B]`` after its steps: a part of lⁿ."""
        steps = self._steps_now()
        now = self._begin(tasks.support)
        state = self.optimizer.init(now)
        length = self.unroll or max(1, steps)
        firsts = range(0, steps, length)
        counted = self._counted(len(firsts))
        for first in firsts[: counted.stop]:
            now, state = _constant(now), {part: _constant(values) for part, values in state.items()}
            stretch = range(first, min(steps, first + length))
            if first < firsts[counted.start]:
                for step in stretch:
                    now, state = self._step(_ordinary(tasks.support), now, state, step, 0)
                continue
            now, state, losses = self._along(tasks, now, state, stretch, order)
            yield losses * (len(firsts) / len(counted) / steps)

    def _along(
        self, tasks: Task, now: Parameters, state: State, stretch: range, order: DerivativeOrder
    ) -> tuple[Parameters, State, Tensor]:
        """Parameters and state after the steps of a stretch, and the summed losses ``[B]`` after each."""
        given = _ordinary(tasks.support)

        def loss_after(reached: Parameters, steps: int) -> Tensor:
            answers = self._answers(reached, tasks.support.x, tasks.query.x, steps)
            return self.losses(answers, tasks.query.y)

        if order > 0 and self._recomputes(now, state, len(stretch)):

            def step_on(seen: Examples) -> StepFrom:
                return summing(partial(self._step, seen), loss_after, [1.0] * stretch.stop)

            carried = with_sum(state, given.x)
            now, carried = descend_again(
                self, _begun_at(stretch.start, step_on), given, now, carried, len(stretch), order
            )
            return now, without_sum(carried), sum_of(carried)
        losses = []
        for step in stretch:
            now, state = self._step(given, now, state, step, order)
            losses.append(loss_after(now, step + 1))
        return now, state, torch.stack(losses).sum(0)

    def _recomputes(self, now: Parameters, state: State, steps: int) -> bool:
        carried = sum(t.numel() for part in (now, *state.values()) for t in part.values())
        return self.memory == "recomputed" or (self.recomputes_what_is_large and carried * steps > _STORED)

    def _counted(self, stretches: int) -> range:
        """The numbers of those of ``stretches`` that count now."""
        if self.stretches == "all" or not self.training or stretches < 2:
            return range(stretches)
        drawn = hashlib.blake2b(repr(self.progress).encode(), digest_size=8).digest()
        one = int.from_bytes(drawn, "big") % stretches
        return range(one, one + 1)

    @torch.no_grad()
    def _begin(self, support: Examples) -> Parameters:
        own = {name: p.detach() for name, p in self.adaptable.items()}
        sizes = [p.numel() for p in own.values()]
        drawn = torch.stack([_normal(sum(sizes), x) for x in support.x]).to(support.x.device)
        parts = torch.split(drawn, sizes, 1)
        return {
            name: self._near(p, part.to(p.dtype).reshape(-1, *p.shape))
            for (name, p), part in zip(own.items(), parts, strict=True)
        }

    def _near(self, parameter: Tensor, drawn: Tensor) -> Tensor:
        if self.start is not None:
            return self.start * drawn
        if parameter.numel() < 2:
            return parameter + torch.zeros_like(drawn)
        return parameter.mean() + parameter.std() * drawn


def _ordinary(support: Examples) -> Examples:
    return Examples(*map(ordinary, support))


def _begun_at(first: int, step_on: Callable[[Examples], StepFrom]) -> Callable[[Examples], StepFrom]:
    """The same steps, counted from 0 where they are counted from ``first``."""

    def counted(seen: Examples) -> StepFrom:
        step_from = step_on(seen)
        return lambda now, state, step, order: step_from(now, state, first + step, order)

    return counted


def _constant(tensors: Parameters) -> Parameters:
    return {name: t.detach() for name, t in tensors.items()}


def _normal(count: int, x: Tensor) -> Tensor:
    """Normal numbers ``[count]`` that are a function of one task's examples, on the CPU in float64."""
    digest = hashlib.blake2b(x.detach().float().cpu().contiguous().numpy().tobytes(), digest_size=8).digest()
    draw = torch.Generator().manual_seed(int.from_bytes(digest, "big"))
    return torch.randn(count, generator=draw, dtype=torch.float64)
