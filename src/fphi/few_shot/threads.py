"""How many threads share a sum: one, where they would wait for each other longer than they add."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from threadpoolctl import ThreadpoolController

__all__ = ["one_thread_for"]

_FEW = 2**20
"""Numbers: in a product with less than these a second thread gains nothing."""


@contextmanager
def one_thread_for(numbers: int) -> Iterator[None]:
    """Within it torch, and what NumPy and SciPy compute with, take one thread if there are few ``numbers``.

    A few examples are thousands of small products. Where a core does other work too, two threads wait for
    each other in each of them, and all takes up to eight times as long.
    """
    if numbers >= _FEW:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with _controller().limit(limits=1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)


@cache
def _controller() -> ThreadpoolController:
    import scipy.linalg  # noqa: F401 - what it computes with is to be known

    return ThreadpoolController()
