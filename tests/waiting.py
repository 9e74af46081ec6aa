"""What tests do not wait for the clock with: a clock of their own, and waiting for a fact."""

import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Protocol

__all__ = ["PATIENCE", "Clock", "wait_for_sigterm", "wait_until"]

# Seconds after which a test gives up on what hangs. Nothing that works takes as long on the busiest machine.
PATIENCE = 500.0

_now = time.monotonic  # tests may put another clock in its place


class Clock:
    """In the place of ``time.monotonic``: each look at it takes ``tick`` seconds, and nothing else takes any.

    Halves and quarters of seconds add up without rounding.
    """

    def __init__(self, tick: float = 0.0) -> None:
        self.now, self.tick = 1000.0, tick

    def __call__(self) -> float:
        self.now += self.tick
        return self.now


class Started(Protocol):
    """A process, of ``subprocess`` or of `forked`."""

    def poll(self) -> int | None: ...

    def communicate(self) -> tuple[str, str]: ...


def wait_until(true: Callable[[], bool], process: Started | None = None) -> None:
    """Until a fact is true; an error if ``process``, which is to make it so, ends before."""
    deadline = _now() + PATIENCE
    while not true():
        if process is not None and process.poll() is not None:
            assert true(), f"it ended before: {process.communicate()}"
            return
        assert _now() < deadline, "it hangs"
        time.sleep(0.005)


def wait_for_sigterm(waits: Path) -> None:
    """Make the file ``waits``, then do nothing until SIGTERM comes; what handles it does so before."""
    came: list[int] = []
    handler = signal.getsignal(signal.SIGTERM)

    def handle(number: int, frame: FrameType | None) -> None:
        came.append(number)
        if callable(handler):
            handler(number, frame)

    signal.signal(signal.SIGTERM, handle)
    waits.touch()
    wait_until(lambda: bool(came))
    signal.signal(signal.SIGTERM, handler)
