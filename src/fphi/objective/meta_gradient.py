"""Step 2: L(φ), the loss over tasks, and its gradient. The one place where tasks are split up."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext
from contextvars import Context, copy_context
from functools import cache
from itertools import pairwise
from threading import Barrier
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from fphi.learnable.base import LearningAlgorithm
from fphi.learnable.checking import checked_tasks, explaining
from fphi.ranges import Range, checked
from fphi.tasks.types import Examples, Task
from fphi.within.randomness import RandomState, generators_of
from fphi.within.stand_in import original, own_parameters, stand_in
from fphi.within.surroundings import (
    cache_of_parametrizations,
    can_be_entered_elsewhere,
    ordinary,
    surroundings,
)
from fphi.within.time_limit import require_time

__all__ = ["meta_gradient", "size_of_task", "split_tasks"]

# What counts as an example: so many values of the input, or so many numbers of a task's own.
_VALUES, _NUMBERS = 28 * 28, 2**17

# Examples in a chunk of tasks on a CPU, of which there are at most `tasks_at_once`: large enough to pay for
# each operation's overhead, small enough for the caches.
_CHUNK_EXAMPLES = 640


@checked(threads=Range(1, 1024))
def meta_gradient(
    learner: LearningAlgorithm, tasks: Task, *, chunk_size: int | None = None, threads: int | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """The mean task loss over a batch of tasks, and its gradient by parameter name.

    The tasks are solved in chunks, which bounds the memory, and chunks are spread over threads. The
    number of threads changes no bit of the result; the size of the chunks does, by the rounding of a sum.

    Args:
        learner: a learning algorithm; parameters that require no gradient are left out.
        tasks: a batch, every tensor with a leading task dimension.
        chunk_size: tasks solved at once; None: as the device likes it.
        threads: worker threads, each computing with one core; None: as many as torch uses on a
            CPU, and 1 elsewhere. A learner that draws random numbers works in one, so that a seed
            decides them; and so does one that cannot be copied, or is called within a mode of torch
            that holds for the caller's thread alone.

    Raises:
        FphiError: the tasks, a number or the network's answers are not what they must be.

    >>> import fphi, torch
    >>> learner = fphi.GradientLearner(torch.nn.Linear(4, 5), fphi.sgd(0.1), steps=1)
    >>> examples = fphi.Examples(torch.ones(2, 5, 4), torch.arange(5).expand(2, 5))
    >>> loss, gradients = fphi.meta_gradient(learner, fphi.Task(examples, examples))
    >>> gradients["network.weight"].shape
    torch.Size([5, 4])
    """
    tasks = checked_tasks(learner, tasks)
    count = tasks.query.x.shape[0]
    with torch.inference_mode(False), torch.enable_grad():
        parts = _parts(learner, _ordinary(tasks), chunk_size, threads or _default_threads(tasks))
    # Summed in the order of the chunks, whichever thread was first: the same bits every time.
    loss = torch.stack([part[0] for part in parts]).sum() / count
    totals = [torch.stack(pieces).sum(0) / count for pieces in zip(*(p[1] for p in parts), strict=True)]
    names = [name for name, p in own_parameters(learner).items() if p.requires_grad]
    return loss, dict(zip(names, totals, strict=True))


def size_of_task(learner: LearningAlgorithm, examples: int, values: int) -> int:
    """How many usual examples a task is as large as, for work and memory.

    Args:
        learner: that is to solve it.
        examples: of the task.
        values: in all of them.
    """
    return max(1, examples, values // _VALUES, learner.numbers_at_once() // _NUMBERS)


def split_tasks(tasks: Task, size: int) -> list[Task]:
    """Chunks of at most ``size`` tasks each, as even as that allows."""
    count = tasks.query.x.shape[0]
    pieces = -(-count // size)
    bounds = [round(i * count / pieces) for i in range(pieces + 1)]
    return [Task(*(Examples(e.x[a:b], e.y[a:b]) for e in tasks)) for a, b in pairwise(bounds)]


def _summed_gradient(learner: LearningAlgorithm, chunk: Task) -> tuple[Tensor, list[Tensor]]:
    require_time()
    with explaining(learner, chunk.support, chunk.query.x):
        return learner.summed_gradient(chunk)


def _default_threads(tasks: Task) -> int:
    return torch.get_num_threads() if tasks.query.x.device.type == "cpu" else 1


def _default_chunk(learner: LearningAlgorithm, tasks: Task) -> int:
    """Every core of this machine has a chunk, however many are used: threads change no bit of the sum."""
    count = tasks.query.x.shape[0]
    if tasks.query.x.device.type != "cpu":
        return count
    examples = learner.examples_at_once(tasks)
    size = size_of_task(learner, examples, examples * tasks.query.x[0, 0].numel())
    share = max(2, -(-count // (os.cpu_count() or 1)))  # one task takes nearly as much overhead as two
    return max(1, min(learner.tasks_at_once, _CHUNK_EXAMPLES // size, share))


Part = tuple[Tensor, list[Tensor]]

# By learner and mode: whether it must work in one thread, as where it draws random numbers, which is found
# out when it first works in threads.
_DRAWS: WeakKeyDictionary[nn.Module, dict[bool, bool]] = WeakKeyDictionary()


def _parts(learner: LearningAlgorithm, tasks: Task, chunk_size: int | None, threads: int) -> list[Part]:
    """Summed loss and gradient of each chunk, in the order of the chunks."""
    draws = _DRAWS.setdefault(original(learner), {})
    chunks = split_tasks(tasks, chunk_size or _default_chunk(learner, tasks))
    if threads > 1 and len(chunks) > 1 and not draws.get(learner.training, False):
        before, cache = RandomState.now(generators_of(learner)), cache_of_parametrizations()
        try:
            parts = _spread(learner, chunks, threads, draws, before)
        except Exception:
            if cache_of_parametrizations() is cache:
                raise
            parts = None
        draws[learner.training] |= cache_of_parametrizations() is not cache  # threads share what it holds
        if parts is not None and not draws[learner.training]:
            return parts
        before.restore()  # in which order threads draw is chance
    with _one_core() if threads == 1 < len(chunks) else nullcontext():
        return [_summed_gradient(learner, chunk) for chunk in chunks]


def _spread(
    learner: LearningAlgorithm, chunks: list[Task], threads: int, draws: dict[bool, bool], before: RandomState
) -> list[Part] | None:
    """See `_in_threads`; ``draws`` is told whether something was drawn since ``before``."""
    known = learner.training in draws
    draws.setdefault(learner.training, False)
    # The first time one chunk goes ahead: threads that draw at the same time could hide it.
    parts = _in_threads(learner, chunks if known else chunks[:1], threads)
    draws[learner.training] = before.moved()
    if not known and parts is not None and not draws[learner.training]:
        parts += _in_threads(learner, chunks[1:], threads) or []
        draws[learner.training] = before.moved()
    return parts


@contextmanager
def _one_core() -> Iterator[None]:
    """As in a worker thread, to the last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _ordinary(tasks: Task) -> Task:
    return Task(*(Examples(*map(ordinary, part)) for part in tasks))


def _in_threads(learner: LearningAlgorithm, chunks: list[Task], threads: int) -> list[Part] | None:
    """See `_parts`; None: this learner cannot be copied, or what surrounds it holds in this thread alone."""
    if not can_be_entered_elsewhere():
        return None
    copies = [stand_in(learner, {}) for _ in chunks]
    contexts, here = [copy_context() for _ in chunks], surroundings()

    def work(context: Context, copied: LearningAlgorithm, chunk: Task) -> Part:
        with here():
            return context.run(_summed_gradient, copied, chunk)

    able = [c for c in copies if c is not None]
    if len(able) < len(chunks):
        return None
    pool = _workers(threads, os.getpid())
    jobs = [pool.submit(work, *arguments) for arguments in zip(contexts, able, chunks, strict=True)]
    wait(jobs)  # for all, even if one fails: nothing goes on behind the caller's back
    return [job.result() for job in jobs]


@cache
def _workers(threads: int, process: int) -> ThreadPoolExecutor:
    """Threads that compute with one core each; those of another process would never answer."""
    within, begun = torch.get_num_threads(), Barrier(threads + 1)
    pool = ThreadPoolExecutor(threads, "fphi-tasks", initializer=_stay_on_one_core)
    for _ in range(threads):
        pool.submit(begun.wait)
    begun.wait()
    torch.set_num_threads(within)
    return pool


def _stay_on_one_core() -> None:
    """Torch's number of threads is each thread's own; one that never asked for it takes, when it first
    computes, what was set last in any thread.
    """
    torch.get_num_threads()
    torch.set_num_threads(1)
