"""Where candidates are evaluated: in this process, in others, or on a cluster."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol, TypeVar

__all__ = ["Executor", "InThisProcess"]

A = TypeVar("A")
R = TypeVar("R")


class Executor(Protocol):
    """As ``concurrent.futures.Executor``, with the number of calls that it can run at once."""

    slots: int

    def submit(self, call: Callable[[A], R], argument: A, /) -> Future[R]:
        """Begin a call; its future holds the result, or what it raised."""

    def close(self) -> None:
        """Stop what still runs."""


class InThisProcess:
    """One call after another, each done when `submit` returns."""

    slots = 1

    def submit(self, call: Callable[[A], R], argument: A, /) -> Future[R]:
        future: Future[R] = Future()
        try:
            future.set_result(call(argument))
        except Exception as error:
            future.set_exception(error)
        return future

    def close(self) -> None:
        """Nothing runs on."""
