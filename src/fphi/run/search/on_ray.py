"""Candidates evaluated on a Ray cluster."""

import math
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from fphi.errors import FphiError
from fphi.run.search.processes import ProcessDiedError, portable

__all__ = ["OnRay"]

A = TypeVar("A")
R = TypeVar("R")


_TRIES = 3
_NOTICED = 60.0
"""Seconds within which Ray notices that a machine is gone."""


@dataclass(frozen=True)
class _Attempt:
    """A call that is being computed.

    Args:
        call: where Ray keeps it.
        argument: its own.
        machines: of the cluster when it began.
        number: of the attempt.
    """

    call: Any
    argument: Any
    machines: frozenset[str]
    number: int = 1


class OnRay:
    """Calls run as tasks of a Ray cluster; needs the extra ``fphi[ray]``.

    What is called is put into Ray's object store once. What a machine was computing when it was lost is
    computed again on another, three times at most. A task whose process dies by itself is not repeated: its
    future raises `ProcessDiedError`.

    Args:
        workers: calls at once.
        address: of a running cluster, "auto" for the one of this machine; None: Ray is started here, with
            what ``workers`` calls need, and ended by `close`.
        cpus: that each call has for itself, and as many threads; a share of one is one thread.
        gpus: that each call has for itself; several calls can share one.

    Raises:
        FphiError: Ray is not installed, or there is no cluster at the address.
    """

    def __init__(
        self, workers: int, address: str | None = None, cpus: float = 1.0, gpus: float = 0.0
    ) -> None:
        if workers < 1:
            raise FphiError(f"{workers} workers cannot evaluate anything; give at least 1")
        self.slots, self.cpus, self.gpus = workers, cpus, gpus
        self._ray = _ray()
        self._ours = not self._ray.is_initialized()
        if self._ours:
            self._connect(address)
        self._task = self._ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0)(_evaluate)
        self._lost = self._ray.exceptions.NodeDiedError, self._ray.exceptions.WorkerCrashedError
        self._call: object = None
        self._call_reference: Any = None
        self._running: dict[Future[Any], Any] = {}
        self._closed = False

    def submit(self, call: Callable[[A], R], argument: A, /) -> Future[R]:
        """Begin a call; ``call``, ``argument`` and the result can be pickled."""
        if call is not self._call:
            self._call_reference, self._call = self._ray.put(call), call
        future: Future[R] = Future()
        self._begin(future, _Attempt(self._call_reference, argument, self._alive()))
        return future

    def close(self) -> None:
        """Kill what still runs; Ray itself ends if it was started here."""
        self._closed = True
        for reference in list(self._running.values()):
            self._ray.cancel(reference, force=True)
        if self._ours:
            self._ray.shutdown()

    def _connect(self, address: str | None) -> None:
        try:
            self._ray.init(log_to_driver=False, **({"address": address} if address else self._here()))
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise FphiError(
                f"no Ray cluster answers at {address!r} ({' '.join(str(error).split())[:200]}); start one "
                "with ray start --head, or leave the address out"
            ) from error

    def _here(self) -> dict[str, Any]:
        """How Ray is started on this machine: what can be imported here can be imported there."""
        paths = os.pathsep.join(os.path.abspath(path) for path in sys.path)
        return {
            "address": "local",  # else Ray would join a cluster that runs here already, and refuse the rest
            "num_cpus": max(1, math.ceil(self.slots * self.cpus)),
            "include_dashboard": False,
            "runtime_env": {"env_vars": {"PYTHONPATH": paths}},
        }

    def _begin(self, future: Future[R], attempt: "_Attempt") -> None:
        reference = self._task.remote(attempt.call, attempt.argument, max(1, int(self.cpus)))
        self._running[future] = reference
        reference.future().add_done_callback(lambda done: self._conclude(future, attempt, done))

    def _conclude(self, future: Future[R], attempt: "_Attempt", done: Future[R]) -> None:
        self._running.pop(future, None)
        error = done.exception()
        if error is None:
            future.set_result(done.result())
        elif attempt.number < _TRIES and isinstance(error, self._lost):
            # Ray's own thread, which tells of all results, must not wait here.
            threading.Thread(target=self._try_again, args=(future, attempt, error), daemon=True).start()
        else:
            future.set_exception(self._plain(error))

    def _try_again(self, future: Future[R], attempt: "_Attempt", error: BaseException) -> None:
        if self._was_lost(error, attempt):
            self._begin(future, replace(attempt, number=attempt.number + 1, machines=self._alive()))
        else:
            future.set_exception(self._plain(error))

    def _was_lost(self, error: BaseException, attempt: "_Attempt") -> bool:
        """Whether the machine is gone that computed it, and not its process alone.

        Ray notices the one after the other, so it is waited for.
        """
        if isinstance(error, self._ray.exceptions.NodeDiedError):
            return True
        deadline = time.monotonic() + (_NOTICED if len(attempt.machines) > 1 else 0)
        while not attempt.machines - self._alive():
            if time.monotonic() >= deadline or self._closed:
                return False
            time.sleep(0.2)
        return not self._closed

    def _alive(self) -> frozenset[str]:
        """The machines of the cluster."""
        return frozenset(node["NodeID"] for node in self._ray.nodes() if node["Alive"])

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


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise FphiError(
            "Ray is not installed; install the extra with pip install 'fphi[ray]', or choose processes"
        ) from error
    return ray


def _evaluate(call: Callable[[A], R], argument: A, threads: int) -> R:
    """As in a worker of `Processes`: threads of its own, and errors that can be pickled."""
    import torch

    torch.set_num_threads(threads)
    try:
        return call(argument)
    except Exception as error:
        raise portable(error) from None
