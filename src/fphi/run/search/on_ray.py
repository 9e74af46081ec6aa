"""Candidates evaluated on a Ray cluster."""

import os
import sys
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from fphi.errors import FphiError
from fphi.run.search.processes import ProcessDiedError, portable

__all__ = ["OnRay"]

A = TypeVar("A")
R = TypeVar("R")


class OnRay:
    """Calls run as tasks of a Ray cluster, each with one CPU; needs the extra ``fphi[ray]``.

    What is called is put into Ray's object store once. A task whose process dies is not repeated: its
    future raises `ProcessDiedError`.

    Args:
        workers: calls at once.
        address: of a running cluster, "auto" for the one of this machine; None: Ray is started here, with
            ``workers`` CPUs, and ended by `close`.

    Raises:
        FphiError: Ray is not installed, or there is no cluster at the address.
    """

    def __init__(self, workers: int, address: str | None = None) -> None:
        if workers < 1:
            raise FphiError(f"{workers} workers cannot evaluate anything; give at least 1")
        self.slots = workers
        self._ray = _ray()
        self._ours = not self._ray.is_initialized()
        if self._ours:
            self._connect(workers, address)
        self._task = self._ray.remote(num_cpus=1, max_retries=0)(_evaluate)
        self._call: object = None
        self._call_reference: Any = None
        self._running: dict[Future[Any], Any] = {}

    def submit(self, call: Callable[[A], R], argument: A, /) -> Future[R]:
        """Begin a call; ``call``, ``argument`` and the result can be pickled."""
        if call is not self._call:
            self._call_reference, self._call = self._ray.put(call), call
        reference = self._task.remote(self._call_reference, argument)
        future: Future[R] = Future()
        self._running[future] = reference
        reference.future().add_done_callback(lambda done: self._conclude(future, done))
        return future

    def close(self) -> None:
        """Kill what still runs; Ray itself ends if it was started here."""
        for reference in list(self._running.values()):
            self._ray.cancel(reference, force=True)
        if self._ours:
            self._ray.shutdown()

    def _connect(self, workers: int, address: str | None) -> None:
        try:
            self._ray.init(address=address, log_to_driver=False, **({} if address else _here(workers)))
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise FphiError(
                f"no Ray cluster answers at {address!r} ({' '.join(str(error).split())[:200]}); start one "
                "with ray start --head, or leave the address out"
            ) from error

    def _conclude(self, future: Future[R], done: Future[R]) -> None:
        self._running.pop(future, None)
        error = done.exception()
        if error is None:
            future.set_result(done.result())
        else:
            future.set_exception(self._plain(error))

    def _plain(self, error: BaseException) -> BaseException:
        """What the call raised, without Ray's wrapping."""
        exceptions = self._ray.exceptions
        if isinstance(error, exceptions.RayTaskError):
            return error.cause if isinstance(error.cause, BaseException) else error
        if isinstance(error, exceptions.OutOfMemoryError):
            return MemoryError("Ray killed its process, which took too much memory")
        if isinstance(error, exceptions.WorkerCrashedError | exceptions.NodeDiedError):
            return ProcessDiedError(f"its process on Ray died: {type(error).__name__}")
        return error


def _here(workers: int) -> dict[str, Any]:
    """How Ray is started on this machine: what can be imported here can be imported there."""
    paths = os.pathsep.join(os.path.abspath(path) for path in sys.path)
    return {
        "num_cpus": workers,
        "include_dashboard": False,
        "runtime_env": {"env_vars": {"PYTHONPATH": paths}},
    }


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise FphiError(
            "Ray is not installed; install the extra with pip install 'fphi[ray]', or choose processes"
        ) from error
    return ray


def _evaluate(call: Callable[[A], R], argument: A) -> R:
    """As in a worker of `Processes`: one thread, and errors that can be pickled."""
    import torch

    torch.set_num_threads(1)
    try:
        return call(argument)
    except Exception as error:
        raise portable(error) from None
