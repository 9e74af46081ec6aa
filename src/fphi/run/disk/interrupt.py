"""A polite stop: SIGTERM and Ctrl-C ask for an end after the current step."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Interrupt", "StoppedError", "interrupts", "stoppable"]


class StoppedError(Exception):
    """SIGTERM or Ctrl-C asked for an end; the message says how far the run is."""


class Interrupt:
    """Whether the run has been asked to stop."""

    requested = False


@contextmanager
def interrupts() -> Iterator[Interrupt]:
    """Catch SIGTERM and SIGINT within; a second Ctrl-C interrupts at once.

    Python delivers signals to the main thread only; in any other thread nothing is caught.

    >>> with interrupts() as interrupt:
    ...     signal.raise_signal(signal.SIGTERM)
    ...     interrupt.requested
    True
    """
    interrupt = Interrupt()

    def handle(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and interrupt.requested:
            raise KeyboardInterrupt
        interrupt.requested = True

    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextmanager
def stoppable(where: str) -> Iterator[None]:
    """Raise a `StoppedError` at the end if an end was asked for within.

    Args:
        where: how far the run is then.
    """
    with interrupts() as interrupt:
        yield
    if interrupt.requested:
        raise StoppedError(where)
