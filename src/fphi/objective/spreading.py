"""Work on chunks of tasks, spread over threads, whose number changes no bit of what comes out."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext
from contextvars import Context, copy_context
from functools import cache
from threading import Barrier
from typing import TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import nn

from fphi.learnable.base import LearningAlgorithm
from fphi.native.library import kernel_threads
from fphi.within.randomness import RandomState, generators_of
from fphi.within.stand_in import original, stand_in
from fphi.within.surroundings import cache_of_parametrizations, can_be_entered_elsewhere, surroundings

__all__ = ["default_threads", "spread"]

C = TypeVar("C")
R = TypeVar("R")
Work = Callable[[LearningAlgorithm, C], R]

# By learner, by its mode and whether derivatives are taken: whether it must work in one thread, as where it
# draws random numbers, which is found out when it first works in threads.
_DRAWS: WeakKeyDictionary[nn.Module, dict[tuple[bool, bool], bool]] = WeakKeyDictionary()


def default_threads(device: torch.device) -> int:
    """As many as torch uses on a CPU, and 1 elsewhere."""
    return torch.get_num_threads() if device.type == "cpu" else 1


def spread(
    learner: LearningAlgorithm, chunks: Sequence[C], work: Work[C, R], threads: int, *, within: bool = False
) -> list[R]:
    """What ``work`` gives for each chunk, in the order of the chunks.

    Each of several chunks is computed with one core, in a thread of its own or not: the same bits. A learner
    that draws random numbers works in one thread, so that a seed decides them; and so does one that cannot be
    copied, or is called within a mode of torch that holds for the caller's thread alone.

    Args:
        learner: threads have copies of it, with the same parameters.
        chunks: what the work is on.
        work: of a learner and a chunk.
        threads: at most so many at the same time.
        within: one chunk after another, each spread over the threads by the native kernels, in place of
            threads of Python, which wait for each other where Python takes as long as the kernels.
    """
    if within:
        with _one_core(), kernel_threads(threads):
            return [work(learner, chunk) for chunk in chunks]
    draws = _DRAWS.setdefault(original(learner), {})
    mode = learner.training, torch.is_grad_enabled()
    if threads > 1 and len(chunks) > 1 and not draws.get(mode, False):
        before, cache = RandomState.now(generators_of(learner)), cache_of_parametrizations()
        try:
            done = _tried(learner, chunks, work, threads, draws, before)
        except Exception:
            if cache_of_parametrizations() is cache:
                raise
            done = None
        draws[mode] |= cache_of_parametrizations() is not cache  # threads share what it holds
        if done is not None and not draws[mode]:
            return done
        before.restore()  # in which order threads draw is chance
    with _one_core() if threads == 1 < len(chunks) else nullcontext():
        return [work(learner, chunk) for chunk in chunks]


def _tried(
    learner: LearningAlgorithm,
    chunks: Sequence[C],
    work: Work[C, R],
    threads: int,
    draws: dict[tuple[bool, bool], bool],
    before: RandomState,
) -> list[R] | None:
    """See `_in_threads`; ``draws`` is told whether something was drawn since ``before``."""
    mode = learner.training, torch.is_grad_enabled()
    known = mode in draws
    draws.setdefault(mode, False)
    # The first time one chunk goes ahead: threads that draw at the same time could hide it.
    done = _in_threads(learner, chunks if known else chunks[:1], work, threads)
    draws[mode] = before.moved()
    if not known and done is not None and not draws[mode]:
        done += _in_threads(learner, chunks[1:], work, threads) or []
        draws[mode] = before.moved()
    return done


@contextmanager
def _one_core() -> Iterator[None]:
    """As in a worker thread, to the last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _in_threads(
    learner: LearningAlgorithm, chunks: Sequence[C], work: Work[C, R], threads: int
) -> list[R] | None:
    """See `spread`; None: this learner cannot be copied, or what surrounds it holds in this thread alone."""
    if not can_be_entered_elsewhere():
        return None
    copies = [stand_in(learner, {}) for _ in chunks]
    contexts, here = [copy_context() for _ in chunks], surroundings()

    def in_context(context: Context, copied: LearningAlgorithm, chunk: C) -> R:
        with here():
            return context.run(work, copied, chunk)

    able = [c for c in copies if c is not None]
    if len(able) < len(chunks):
        return None
    pool = _workers(threads, os.getpid())
    jobs = [pool.submit(in_context, *arguments) for arguments in zip(contexts, able, chunks, strict=True)]
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
