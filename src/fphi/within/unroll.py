"""One step of within-task training, for a batch of tasks at once, with the derivative order asked for."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import comb
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.utils._pytree import tree_flatten, tree_unflatten

from fphi.errors import FphiError
from fphi.within.optimizers import InnerOptimizer, Parameters, State, UpdateRule
from fphi.within.randomness import RandomState
from fphi.within.surroundings import ordinary, surroundings
from fphi.within.time_limit import require_time
from fphi.within.trial import is_mapped, leaves_of

__all__ = ["DerivativeOrder", "StepFrom", "TaskLosses", "descend", "descend_recomputed", "last_of"]

# Of what a derivative by φ is taken through an inner step. 0: of nothing (evaluation). 1: of the step, whose
# gradient counts as a constant. 2: of its gradient too.
DerivativeOrder = Literal[0, 1, 2]
TaskLosses = Callable[[Parameters], Tensor]
StepFrom = Callable[[Parameters, State, int, DerivativeOrder], tuple[Parameters, State]]
Tensors = tuple[Tensor, ...]
T = TypeVar("T")
Steps = Callable[[Tensors, int, DerivativeOrder], Tensors]


def descend(
    losses: TaskLosses,
    optimizer: UpdateRule,
    parameters: Parameters,
    state: State,
    step: int,
    order: DerivativeOrder,
) -> tuple[Parameters, State]:
    """Parameters and optimizer state after one inner step.

    Args:
        losses: the support loss of each task ``[B]``, as a function of the batched parameters.
        optimizer: the update rule.
        parameters: by name, ``[B, *shape]``.
        state: the update rule's.
        step: number of the step, from 0.
        order: how far derivatives with respect to φ can be taken through the step.

    Raises:
        FphiError: the loss has no derivative.

    The tasks' parameters are apart, so the gradient of the summed losses holds every task's own.
    """
    require_time()
    if order == 0:
        parameters, state = _detached(parameters), {k: _detached(v) for k, v in state.items()}
    with torch.inference_mode(False), torch.enable_grad():
        inputs = {k: p if p.requires_grad else _leaf(p) for k, p in parameters.items()}
        lost = losses(inputs)
        total = lost.sum()
        if not total.requires_grad and not is_mapped(total):
            raise FphiError(
                "the support loss does not depend on the parameters to adapt: let the network and the loss "
                "keep their graph, without detach, no_grad or whole numbers in between"
            )
        found = torch.autograd.grad(
            total, list(inputs.values()), create_graph=order == 2, allow_unused=True
        )  # where none is used they are zeros, and constants: torch's own would ask for a gradient
        gradients = [
            torch.zeros_like(p) if g is None else g for p, g in zip(inputs.values(), found, strict=True)
        ]
    with torch.set_grad_enabled(order > 0):
        if isinstance(optimizer, InnerOptimizer) and optimizer.reads_loss:
            state = optimizer.observe(lost if order == 2 else lost.detach(), state)
        return optimizer.update(dict(zip(inputs, gradients, strict=True)), state, inputs, step)


def last_of(trajectory: Iterator[T]) -> T:
    """Where a trajectory ends; what comes before is not kept."""
    return deque(trajectory, maxlen=1).pop()


def _leaf(parameter: Tensor) -> Tensor:
    """The same values, to be differentiated by."""
    return ordinary(parameter).detach().requires_grad_()


def _detached(parameters: Parameters) -> Parameters:
    return {name: p.detach() for name, p in parameters.items()}


def descend_recomputed(
    step_from: StepFrom,
    parameters: Parameters,
    state: State,
    steps: int,
    order: DerivativeOrder,
    constants: Tensors,
    leaves: Tensors,
    generators: Sequence[Any] = (),
) -> tuple[Parameters, State]:
    """Parameters and state after ``steps`` inner steps, whose graphs the backward pass builds one at a time.

    The memory holds one step's activations and a few states to go on from (5 for 20 steps, 13 for 100),
    chosen so that each step is computed at most twice without a graph and once with it (Griewank and
    Walther 2000, Algorithm 799: revolve).

    Args:
        step_from: parameters and state after a step, from those before it, its number, and the order
            of derivatives to be taken through it: `descend`.
        parameters: by name ``[B, *shape]``, before the first step.
        state: the update rule's, before the first step.
        steps: how many.
        order: see `descend`.
        constants: the other tensors that steps depend on and a derivative may be wanted of: parameters
            of the optimizer and of the part of the network that is not adapted, and its features.
        leaves: what the steps take in place of each constant: itself, or the same values without its graph.
        generators: of random numbers, beside torch's, NumPy's and Python's, that steps may draw from.
    """
    flat, structure = tree_flatten((parameters, state))

    def run(tensors: Tensors, step: int, order: DerivativeOrder) -> Tensors:
        now, memory = tree_unflatten(list(tensors), structure)
        return tuple(tree_flatten(step_from(now, memory, step, order))[0])

    repeatable = _Repeatable(run, generators)
    ends = _Recomputed.apply(repeatable, order, steps, leaves, len(flat), *flat, *constants)  # type: ignore[no-untyped-call]
    reached: tuple[Parameters, State] = tree_unflatten(list(ends), structure)
    return reached


class _Recomputed(Function):
    """``steps`` calls of ``run(carried, step, order)``, without their graphs."""

    @staticmethod
    def forward(
        ctx: Any,
        run: "_Repeatable",
        order: DerivativeOrder,
        steps: int,
        leaves: Tensors,
        count: int,
        *tensors: Tensor,
    ) -> Tensors:
        ctx.save_for_backward(*tensors)
        ctx.order, ctx.steps, ctx.leaves, ctx.count = order, steps, leaves, count
        ctx.surroundings = surroundings()
        ctx.run = run
        ctx.kept, slots = [], _slots(steps)
        now, at = tensors[:count], 0
        while at < steps - 1:
            # The same halts that the backward pass would make on its way to the last step.
            halt = at + _first_halt(steps - at, slots)
            now, at, slots = _advanced(run, now, at, halt), halt, slots - 1
            ctx.kept.append((now, at, slots))
        return _advanced(run, now, at, steps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *cotangents: Tensor) -> Any:
        carried = ctx.saved_tensors[: ctx.count]
        back = _Backward(ctx.run, ctx.order, cotangents, [c for c in ctx.leaves if c.requires_grad])
        del cotangents
        end = ctx.steps
        with ctx.surroundings(), ctx.run.again():
            while ctx.kept:
                now, at, slots = ctx.kept.pop()
                back.through(now, at, slots, end)
                end = at
            back.through(carried, 0, _slots(ctx.steps), end)
        sums = iter(back.sums)
        of_constants = (next(sums) if c.requires_grad else None for c in ctx.leaves)
        return None, None, None, None, None, *back.cotangents, *of_constants


class _Repeatable:
    """Steps that draw the same random numbers whenever they are computed: those of the first time."""

    def __init__(self, run: Steps, generators: Sequence[Any]) -> None:
        self.run, self.generators = run, generators
        self.began: dict[int, RandomState] = {}
        self.others = True  # whether the steps draw from other generators than torch's

    def __call__(self, tensors: Tensors, step: int, order: DerivativeOrder) -> Tensors:
        began = self.began.get(step)
        if began is not None:
            began.restore()
            return self.run(tensors, step, order)
        self.began[step] = RandomState.now(self.generators, self.others)
        after = self.run(tensors, step, order)
        if step == 0:
            self.others = self.began[0].moved_others()
        return after

    @contextmanager
    def again(self) -> Iterator[None]:
        """Within it steps are computed again, and what they draw is not missed afterwards."""
        before = RandomState.now(self.generators)
        try:
            yield
        finally:
            before.restore()


class _Backward:
    """Goes back through the steps, last first.

    Attributes:
        cotangents: the derivatives by what is carried, after the step that is gone through next. They are
            kept here alone, so that those of a later step are free at once.
        sums: the derivatives by the ``constants``, over all steps so far.
    """

    def __init__(
        self, run: Steps, order: DerivativeOrder, cotangents: Tensors, constants: list[Tensor]
    ) -> None:
        self.run, self.order, self.constants = run, order, constants
        self.cotangents = cotangents
        self.sums = [torch.zeros_like(c) for c in constants]
        self.looked_at = False  # whether a step was seen to depend on nothing else

    def through(self, now: Tensors, first: int, slots: int, end: int) -> None:
        """Back to before step ``first``, where ``now`` was there, from before step ``end``."""
        while end - first > 1:
            halt = first + _first_halt(end - first, slots)
            self.through(_advanced(self.run, now, first, halt), halt, slots - 1, end)
            end = halt
        if end > first:
            self._through_one(now, first)

    def _through_one(self, now: Tensors, step: int) -> None:
        with torch.enable_grad():
            inputs = [t.detach().requires_grad_() for t in now]
            outputs = self.run(tuple(inputs), step, self.order)
        live = [(o, g) for o, g in zip(outputs, self.cotangents, strict=True) if o.requires_grad]
        if not self.looked_at:
            self.looked_at = True
            _require_no_others([o for o, _ in live], [*inputs, *self.constants])
        found = torch.autograd.grad(
            [o for o, _ in live], [*inputs, *self.constants], [g for _, g in live], materialize_grads=True
        )
        self.cotangents = found[: len(inputs)]
        self.sums = [total + part for total, part in zip(self.sums, found[len(inputs) :], strict=True)]


def _require_no_others(outputs: Sequence[Tensor], known: Sequence[Tensor]) -> None:
    """Raise an `FphiError` if ``outputs`` have a derivative by a tensor that is none of ``known``."""
    expected = {id(t) for t in known}
    for leaf in leaves_of(outputs):
        if id(leaf) not in expected:
            raise FphiError(
                f"the inner steps use a tensor {list(leaf.shape)} that requires a gradient and is neither a "
                "parameter of the learner nor given with the task: memory='recomputed' would lose its "
                "gradient; make it a parameter of the network or the loss, or take memory='stored'"
            )


@torch.no_grad()
def _advanced(run: Steps, now: Tensors, first: int, end: int) -> Tensors:
    """What is there before step ``end``, from what is there before step ``first``; no graph."""
    now = tuple(t.detach() for t in now)
    for step in range(first, end):
        now = run(now, step, 0)
    return now


def _slots(steps: int) -> int:
    """The fewest states to keep beside the first one, if two sweeps over every step are to do."""
    slots = 0
    while comb(slots + 3, 2) < steps:
        slots += 1
    return slots


def _first_halt(steps: int, slots: int) -> int:
    """After how many of ``steps`` the first of ``slots`` further states is best kept."""
    sweeps = 1
    while comb(slots + 1 + sweeps, sweeps) < steps:
        sweeps += 1
    return max(1, steps - comb(slots + sweeps, sweeps))
