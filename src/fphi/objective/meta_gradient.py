"""Step 2: L(φ), the loss over tasks, and its gradient. The one place where tasks are split up."""

import copy
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise

import torch
from torch import Tensor

from fphi.errors import FphiError
from fphi.learnable.base import LearningAlgorithm
from fphi.learnable.checking import checked_tasks, explaining
from fphi.tasks.types import Examples, Task

__all__ = ["meta_gradient", "split_tasks"]

# Tasks per chunk on a CPU, and examples in them: large enough to pay for each operation's overhead, small
# enough for the caches.
_CHUNK = 8
_CHUNK_EXAMPLES = 320


def meta_gradient(
    learner: LearningAlgorithm, tasks: Task, *, chunk_size: int | None = None, threads: int | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """The mean task loss over a batch of tasks, and its gradient by parameter name.

    The tasks are solved in chunks, which bounds the memory, and chunks are spread over threads. The
    result does not depend on either, up to the rounding of a sum.

    Args:
        learner: a learning algorithm; parameters that require no gradient are left out.
        tasks: a batch, every tensor with a leading task dimension.
        chunk_size: tasks solved at once; None: as the device likes it.
        threads: worker threads, each computing with one core; None: as many as torch uses on a
            CPU, and 1 elsewhere. A learner that draws random numbers works in one, so that a seed
            decides them.

    Raises:
        FphiError: the tasks, a number or the network's answers are not what they must be.

    >>> import fphi, torch
    >>> learner = fphi.GradientLearner(torch.nn.Linear(4, 5), fphi.sgd(0.1), steps=1)
    >>> examples = fphi.Examples(torch.ones(2, 5, 4), torch.arange(5).expand(2, 5))
    >>> loss, gradients = fphi.meta_gradient(learner, fphi.Task(examples, examples))
    >>> gradients["network.weight"].shape
    torch.Size([5, 4])
    """
    for name, number in (("chunk_size", chunk_size), ("threads", threads)):
        if number is not None and number < 1:
            raise FphiError(f"{name} is {number}; it must be at least 1, or None for the default")
    if not isinstance(learner, LearningAlgorithm):
        raise FphiError(f"{type(learner).__name__} is no learner; give one, such as fphi.GradientLearner(…)")
    tasks = checked_tasks(learner, tasks)
    count = tasks.query.x.shape[0]
    threads = _default_threads(tasks) if threads is None else threads
    chunks = split_tasks(tasks, chunk_size or _default_chunk(tasks, threads))
    if threads == 1 or len(chunks) == 1 or learner.draws:
        parts = [_summed_gradient(learner, chunk) for chunk in chunks]
    else:
        parts = _in_threads(learner, chunks, threads)
    # Summed in the order of the chunks, whichever thread was first: the same bits every time.
    loss = torch.stack([part[0] for part in parts]).sum() / count
    totals = [torch.stack(pieces).sum(0) / count for pieces in zip(*(p[1] for p in parts), strict=True)]
    names = [name for name, p in learner.named_parameters() if p.requires_grad]
    return loss, dict(zip(names, totals, strict=True))


def split_tasks(tasks: Task, size: int) -> list[Task]:
    """Chunks of at most ``size`` tasks each, as even as that allows."""
    count = tasks.query.x.shape[0]
    pieces = -(-count // size)
    bounds = [round(i * count / pieces) for i in range(pieces + 1)]
    return [Task(*(Examples(e.x[a:b], e.y[a:b]) for e in tasks)) for a, b in pairwise(bounds)]


def _summed_gradient(learner: LearningAlgorithm, chunk: Task) -> tuple[Tensor, list[Tensor]]:
    with explaining(learner, chunk.support, chunk.query.x):
        return learner.summed_gradient(chunk)


def _default_threads(tasks: Task) -> int:
    return torch.get_num_threads() if tasks.query.x.device.type == "cpu" else 1


def _default_chunk(tasks: Task, threads: int) -> int:
    count = tasks.query.x.shape[0]
    if tasks.query.x.device.type != "cpu":
        return count
    examples = sum(part.x.shape[1] for part in tasks)
    return max(1, min(_CHUNK, _CHUNK_EXAMPLES // examples, -(-count // threads)))


def _in_threads(
    learner: LearningAlgorithm, chunks: list[Task], threads: int
) -> list[tuple[Tensor, list[Tensor]]]:
    # A call with other parameters swaps them into the module for its duration, so every chunk has
    # a copy of the modules; the tensors are shared.
    tensors = [*learner.parameters(), *learner.buffers()]
    copies = [copy.deepcopy(learner, {id(t): t for t in tensors}) for _ in chunks]
    within = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return list(_workers(threads).map(_summed_gradient, copies, chunks))
    finally:
        torch.set_num_threads(within)


@cache
def _workers(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "fphi-tasks", initializer=lambda: torch.set_num_threads(1))
