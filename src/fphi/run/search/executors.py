"""Where candidates are evaluated: in this process, in others, or on a cluster."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Literal, Protocol, TypeVar, get_args

from fphi.errors import FphiError
from fphi.run.search.on_ray import OnRay
from fphi.run.search.processes import Processes

__all__ = ["Executor", "ExecutorKind", "InThisProcess", "OnRay", "Processes", "make_executor"]

A = TypeVar("A")
R = TypeVar("R")

ExecutorKind = Literal["in-process", "processes", "ray"]


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


def make_executor(
    kind: ExecutorKind, workers: int = 1, address: str | None = None, cpus: float = 1.0, gpus: float = 0.0
) -> Executor:
    """The executor of a kind.

    Args:
        kind: "in-process", "processes" or "ray".
        workers: evaluations at once; in this process it is 1.
        address: of a Ray cluster; None: Ray is started on this machine.
        cpus: that each evaluation on Ray has for itself.
        gpus: that each evaluation on Ray has for itself.

    Raises:
        FphiError: there is no such kind, or it cannot be had.
    """
    if kind == "processes":
        return Processes(workers)
    if kind == "ray":
        return OnRay(workers, address, cpus, gpus)
    if (cpus, gpus) != (1.0, 0.0):
        raise FphiError(f"shares of {cpus:g} CPUs and {gpus:g} GPUs are Ray's: choose the executor ray")
    if kind != "in-process":
        raise FphiError(f"unknown executor {kind!r}: choose one of {', '.join(get_args(ExecutorKind))}")
    if workers != 1:
        raise FphiError(
            f"{workers} workers in one process: choose the executor processes or ray, or --workers 1"
        )
    return InThisProcess()
