"""When a computation is to be given up, told to the steps that it is made of."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["TimeIsUpError", "require_time", "time_limit"]

_END: ContextVar[float | None] = ContextVar("_END", default=None)


class TimeIsUpError(Exception):
    """Raised by `require_time` past the end of the `time_limit` around it."""


@contextmanager
def time_limit(end: float | None) -> Iterator[None]:
    """Within it `require_time` raises once ``time.monotonic()`` is past ``end``; None: never.

    >>> with time_limit(time.monotonic() - 1):
    ...     require_time()
    Traceback (most recent call last):
    fphi.within.time_limit.TimeIsUpError
    """
    token = _END.set(end)
    try:
        yield
    finally:
        _END.reset(token)


def require_time() -> None:
    """Raise `TimeIsUpError` if the time is up; called before each inner step and the like."""
    end = _END.get()
    if end is not None and time.monotonic() > end:
        raise TimeIsUpError
