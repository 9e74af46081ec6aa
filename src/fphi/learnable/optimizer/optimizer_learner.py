"""A learned optimizer as a learning algorithm: it trains a network from a random start."""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fphi.learnable.base import Loss
from fphi.learnable.initialization.gradient_learner import GradientLearner
from fphi.ranges import Range, checked
from fphi.tasks.types import Examples, Task
from fphi.within.optimizers import Parameters, UpdateRule
from fphi.within.stand_in import own_parameters
from fphi.within.surroundings import ordinary
from fphi.within.task_map import Batching
from fphi.within.unroll import DerivativeOrder

__all__ = ["OptimizerLearner"]

_NUMBERS = 64


class OptimizerLearner(GradientLearner):
    """Train a network on the support set from a random start; φ is the update rule alone.

    lⁿ is the query loss after each step, averaged over the steps: what is good is to be fast, and not only to
    arrive (Andrychowicz et al., NIPS 2016, arXiv 1606.04474). It is differentiated in stretches of ``unroll``
    steps: parameters and the rule's state go on from one stretch to the next, and no derivative does. φ can
    move after each of them: with ``stretches="one"`` a meta-step differentiates one stretch alone, whose
    number is drawn anew as training goes on (see `fphi.within.progress`), and walks up to it without
    derivatives. Times the number of stretches its gradient is on average that of all, for less work a step.

    The start is a function of the task: its examples seed it. So all rules begin at the same place, and a
    task is the same whenever it comes.

    Args:
        network: the form of the network, and where the numbers of each of its tensors are about. It is no
            part of φ, and is not saved with it: the rule serves other networks too.
        optimizer: the update rule that is learned; see `GradientLearner`.
        steps: inner steps in training.
        unroll: steps that are differentiated together; None: all.
        stretches: how many of the stretches of a way each meta-step differentiates, ``"all"`` or ``"one"``.
        start: deviation of the numbers that the network starts from; None: each tensor's as in ``network``.
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
            batching=batching,
        )
        self.unroll, self.stretches, self.start = unroll, stretches, start
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

    def examples_at_once(self, tasks: Task) -> int:
        """The rule's work is on the network's numbers: 64 of them count as an example."""
        return max(1, sum(p.numel() for p in self.adaptable.values()) // _NUMBERS)

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
        support, steps = tasks.support, self._steps_now()
        given = Examples(*map(ordinary, support))
        now = self._begin(support)
        state = self.optimizer.init(now)
        length = self.unroll or max(1, steps)
        firsts = range(0, steps, length)
        counted = self._counted(len(firsts))
        for first in firsts[: counted.stop]:
            now, state = _constant(now), {part: _constant(values) for part, values in state.items()}
            losses, counts = [], first >= firsts[counted.start]
            for step in range(first, min(steps, first + length)):
                now, state = self._step(given, now, state, step, order if counts else 0)
                if counts:
                    answers = self._answers(now, support.x, tasks.query.x, step + 1)
                    losses.append(self.losses(answers, tasks.query.y))
            if counts:
                yield torch.stack(losses).sum(0) * (len(firsts) / len(counted) / steps)

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


def _constant(tensors: Parameters) -> Parameters:
    return {name: t.detach() for name, t in tensors.items()}


def _normal(count: int, x: Tensor) -> Tensor:
    """Normal numbers ``[count]`` that are a function of one task's examples, on the CPU in float64."""
    digest = hashlib.blake2b(x.detach().float().cpu().contiguous().numpy().tobytes(), digest_size=8).digest()
    draw = torch.Generator().manual_seed(int.from_bytes(digest, "big"))
    return torch.randn(count, generator=draw, dtype=torch.float64)
