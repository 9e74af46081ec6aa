"""Step 2: L(φ), the loss over tasks, and its gradient. The one place where tasks are split up."""

import os
from collections.abc import Mapping
from itertools import pairwise
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from fphi.learnable.base import LearningAlgorithm
from fphi.learnable.checking import checked_tasks, explaining
from fphi.objective.spreading import default_threads, spread
from fphi.objective.summation import sum_of, summand, summed
from fphi.ranges import Range, checked
from fphi.tasks.types import Examples, Task
from fphi.within.progress import warn_unheard
from fphi.within.stand_in import own_parameters
from fphi.within.surroundings import ordinary
from fphi.within.task_map import is_for_kernels
from fphi.within.time_limit import require_time

__all__ = [
    "MendsGradient",
    "PartsTasks",
    "mean_of_tasks",
    "meta_gradient",
    "parts_for",
    "size_of_task",
    "split_tasks",
    "summed_gradient",
]

# What counts as an example: so many values of the input, or so many numbers of a task's own.
_VALUES, _NUMBERS = 28 * 28, 2**17

# Examples in a chunk of tasks on a CPU, of which there are at most `tasks_at_once`: large enough to pay for
# each operation's overhead, small enough for the caches.
_CHUNK_EXAMPLES = 640

# With so few examples a task takes Python as long as the native kernels.
_FEW_EXAMPLES = 20


@runtime_checkable
class MendsGradient(Protocol):
    """A learner that has something else in place of a gradient of no use."""

    def mended_gradient(self, loss: Tensor, gradients: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """What counts in place of a whole batch's mean loss and its gradient by parameter name.

        It is called once for each batch, however that was split up into chunks and over processes.
        """


@runtime_checkable
class PartsTasks(Protocol):
    """A learner that cannot solve any tasks together."""

    def solved_together(self, tasks: Task) -> list[Task]:
        """The tasks in parts that it can, in their order."""


@checked(threads=Range(1, 1024), shared_by=Range(1, 1024))
def meta_gradient(
    learner: LearningAlgorithm,
    tasks: Task,
    *,
    chunk_size: int | None = None,
    threads: int | None = None,
    shared_by: int = 1,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The mean task loss over a batch of tasks, and its gradient by parameter name.

    The tasks are solved in chunks, which bounds the memory, and chunks are spread over threads. The
    number of threads changes no bit of the result; the size of the chunks does, by the rounding of a sum.
    A learner that changes in the course of training, as MAML++ does, is to be told how far it is before: see
    `fphi.tell_progress`. Where nobody did, there is a warning.

    Args:
        learner: a learning algorithm; parameters that require no gradient are left out.
        tasks: a batch, every tensor with a leading task dimension.
        chunk_size: tasks solved at once; None: as the device likes it.
        threads: worker threads, each computing with one core; None: as many as torch uses on a
            CPU, and 1 elsewhere. A learner that draws random numbers works in one, so that a seed
            decides them; and so does one that cannot be copied, or is called within a mode of torch
            that holds for the caller's thread alone.
        shared_by: processes of this machine that do the like at the same time; chunks are made for this one's
            share of its cores.

    Raises:
        FphiError: the tasks, a number or the network's answers are not what they must be.

    >>> import fphi, torch
    >>> learner = fphi.GradientLearner(torch.nn.Linear(4, 5), fphi.sgd(0.1), steps=1)
    >>> examples = fphi.Examples(torch.ones(2, 5, 4), torch.arange(5).expand(2, 5))
    >>> loss, gradients = fphi.meta_gradient(learner, fphi.Task(examples, examples))
    >>> gradients["network.weight"].shape
    torch.Size([5, 4])
    """
    warn_unheard(learner)
    loss, sums = summed_gradient(learner, tasks, chunk_size=chunk_size, threads=threads, shared_by=shared_by)
    return mean_of_tasks(learner, tasks.query.x.shape[0], loss, sums)


def summed_gradient(
    learner: LearningAlgorithm,
    tasks: Task,
    *,
    chunk_size: int | None = None,
    threads: int | None = None,
    shared_by: int = 1,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The sums of which `meta_gradient` is the mean, as `fphi.objective.summation` adds them up.

    With ``chunk_size`` the chunks have just as many tasks, and are summed exactly: so it does not matter
    which process takes which.
    """
    tasks = checked_tasks(learner, tasks)
    learner.require_teaching(tasks)
    with torch.inference_mode(False), torch.enable_grad():
        tasks = _ordinary(tasks)
        size, within = _default_chunk(learner, tasks, shared_by)
        whole = split_tasks(tasks, chunk_size or size, even=chunk_size is None)
        chunks = [part for chunk in whole for part in parts_for(learner, chunk)]
        threads = threads or default_threads(tasks.query.x.device)
        parts = spread(learner, chunks, _summed_gradient, threads, within=within)
    # Summed in the order of the chunks, whichever thread was first: the same bits every time.
    losses, gradients = [part[0] for part in parts], zip(*(part[1] for part in parts), strict=True)
    exact = chunk_size is not None
    loss, *totals = (summed(summand(x, exact) for x in terms) for terms in (losses, *gradients))
    names = [name for name, p in own_parameters(learner).items() if p.requires_grad]
    return loss, dict(zip(names, totals, strict=True))


def mean_of_tasks(
    learner: LearningAlgorithm, count: int, loss: Tensor, sums: Mapping[str, Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """What `meta_gradient` returns, from the sums of `summed_gradient` over ``count`` tasks."""
    own = own_parameters(learner)
    means = {name: sum_of(total / count, own[name].dtype) for name, total in sums.items()}
    kind = next((mean.dtype for mean in means.values()), loss.dtype)
    mean = sum_of(loss / count, kind)
    return learner.mended_gradient(mean, means) if isinstance(learner, MendsGradient) else (mean, means)


def size_of_task(learner: LearningAlgorithm, examples: int, values: int) -> int:
    """How many usual examples a task is as large as, for work and memory.

    Args:
        learner: that is to solve it.
        examples: of the task.
        values: in all of them.
    """
    return max(1, examples, values // _VALUES, learner.numbers_at_once() // _NUMBERS)


def split_tasks(tasks: Task, size: int, *, even: bool = True) -> list[Task]:
    """Chunks of at most ``size`` tasks each, as even as that allows, or as large."""
    count = tasks.query.x.shape[0]
    pieces = -(-count // size)
    bounds = [round(i * count / pieces) if even else min(i * size, count) for i in range(pieces + 1)]
    return [Task(*(Examples(e.x[a:b], e.y[a:b]) for e in tasks)) for a, b in pairwise(bounds)]


def parts_for(learner: LearningAlgorithm, chunk: Task) -> list[Task]:
    """A chunk in parts that the learner can solve: as a rule the whole."""
    return learner.solved_together(chunk) if isinstance(learner, PartsTasks) else [chunk]


def _summed_gradient(learner: LearningAlgorithm, chunk: Task) -> tuple[Tensor, list[Tensor]]:
    require_time()
    with explaining(learner, chunk.support, chunk.query.x):
        return learner.summed_gradient(chunk)


def _default_chunk(learner: LearningAlgorithm, tasks: Task, shared_by: int) -> tuple[int, bool]:
    """Tasks of a chunk, and whether it is spread over the cores within: see `spread`.

    Else every core of ours has a chunk, however many are used: threads change no bit of the sum.
    """
    count = tasks.query.x.shape[0]
    if tasks.query.x.device.type != "cpu":
        return count, False
    examples = learner.examples_at_once(tasks)
    size = size_of_task(learner, examples, examples * tasks.query.x[0, 0].numel())
    within = size <= _FEW_EXAMPLES and is_for_kernels(learner)
    cores = max(1, (os.cpu_count() or 1) // shared_by)
    share = max(2, -(-count // cores))  # one task takes nearly as much overhead as two
    at_once = 2 * learner.tasks_at_once if within else min(learner.tasks_at_once, share)
    return max(1, min(at_once, _CHUNK_EXAMPLES // size)), within


def _ordinary(tasks: Task) -> Task:
    return Task(*(Examples(*map(ordinary, part)) for part in tasks))
