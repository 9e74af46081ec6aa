"""Candidates evaluated in processes of this machine, each of which may die without harm to the others."""

import atexit
import os
import pickle
import queue
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future
from multiprocessing import Pipe, get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TypeVar, cast

from fphi.errors import FphiError

__all__ = ["ProcessDiedError", "Processes", "portable"]

A = TypeVar("A")
R = TypeVar("R")


class ProcessDiedError(RuntimeError):
    """The process that evaluated a candidate ended before it had a result."""


class Processes:
    """Calls run in ``workers`` processes, each with one torch thread.

    A process that dies takes only its own call with it, whose future raises `ProcessDiedError` with the
    signal or exit code, and a new one takes its place. What is called is sent to a process once, however
    often it is called. Processes are spawned, so a script that uses them starts under
    ``if __name__ == "__main__"``. They end with `close`, and with this process, however it ends.

    Args:
        workers: processes; each loads torch of its own, some 300 MB.
        forked: copies of this process in place of new ones: they start at once, and what it has computed
            with several threads may not be computed in them.

    Raises:
        FphiError: the processes do not start.
    """

    def __init__(self, workers: int, *, forked: bool = False) -> None:
        if workers < 1:
            raise FphiError(f"{workers} workers cannot evaluate anything; give at least 1")
        self.slots = workers
        self._closed = False
        self._lock = threading.Lock()
        self._workers = [_Worker(forked) for _ in range(workers)]
        # Before multiprocessing's own function, which would ask politely and wait.
        atexit.register(self.close)
        self._free: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in self._workers:
            self._wait_for(worker)
            self._free.put(worker)
        self._call: object = None
        self._pickled = b""

    def submit(self, call: Callable[[A], R], argument: A, /) -> Future[R]:
        """Begin a call; ``call``, ``argument`` and the result can be pickled."""
        if call is not self._call:
            self._pickled, self._call = pickle.dumps(call), call
        future: Future[R] = Future()
        # Daemons: an interpreter that ends does not wait for evaluations.
        threading.Thread(target=self._run, args=(future, self._pickled, argument), daemon=True).start()
        return future

    def close(self) -> None:
        """Kill the processes; calls that still run raise."""
        with self._lock:
            self._closed = True
            for worker in self._workers:
                worker.kill()
        atexit.unregister(self.close)

    def _wait_for(self, worker: "_Worker") -> None:
        try:
            worker.wait_until_ready()
        except ProcessDiedError as error:
            self.close()
            raise FphiError(
                f"a worker cannot start: {error}; a script must start searches under "
                "if __name__ == '__main__', and each worker needs some 300 MB of memory"
            ) from error

    def _run(self, future: Future[R], call: bytes, argument: object) -> None:
        worker = self._free.get()
        try:
            if self._closed:
                raise ProcessDiedError("the executor was closed before this call began")
            result = cast(R, worker.run(call, argument))
        except BaseException as error:
            self._replace(worker)
            future.set_exception(error)
        else:
            future.set_result(result)
        finally:
            self._free.put(worker)

    def _replace(self, worker: "_Worker") -> None:
        with self._lock:
            if not self._closed and not worker.alive:
                worker.start()


class _Worker:
    """A process that answers calls one by one, and this side of the pipe to it."""

    def __init__(self, forked: bool) -> None:
        self._forked = forked
        self.start()

    def start(self) -> None:
        """A new process, which is not waited for."""
        kind: type[BaseProcess] = get_context("spawn").Process
        if self._forked:
            kind = get_context("fork").Process
        self._pipe, theirs = Pipe()
        self._process = kind(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()  # the pipe ends with the process
        self._ready = False
        self._knows: bytes | None = None

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def kill(self) -> None:
        self._process.kill()
        self._process.join()

    def wait_until_ready(self) -> None:
        """Return when the process has loaded what it needs.

        Raises:
            ProcessDiedError: it ended before.
        """
        if not self._ready:
            self._receive()
            self._ready = True

    def run(self, call: bytes, argument: object) -> object:
        """The result of the call, or what it raised.

        Raises:
            ProcessDiedError: the process ended instead.
        """
        self.wait_until_ready()
        message = pickle.dumps((None if self._knows is call else call, argument))
        try:
            self._pipe.send_bytes(message)
        except OSError as error:
            raise self._died() from error
        self._knows = call
        good, value = pickle.loads(self._receive())
        if good:
            return value
        raise value

    def _receive(self) -> bytes:
        wait([self._pipe, self._process.sentinel])
        try:
            # A process that ended may have answered just before.
            if self._pipe.poll():
                return self._pipe.recv_bytes()
        except (EOFError, OSError) as error:
            raise self._died() from error
        raise self._died()

    def _died(self) -> ProcessDiedError:
        self._process.join(10)
        self.kill()  # a process that closed its pipe is of no use
        code = self._process.exitcode or 0
        if code >= 0:
            return ProcessDiedError(f"its process ended with exit code {code}")
        name = signal.Signals(-code).name
        memory = ", which is what the system does when memory runs out" if name == "SIGKILL" else ""
        return ProcessDiedError(f"its process was killed by {name}{memory}")


def _serve(pipe: Connection) -> None:
    """What a worker does: receive a call and its argument, send what comes of it; until the pipe ends."""
    # Both may reach all processes of a search, which is the one to decide; it kills its workers.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import torch

    torch.set_num_threads(1)
    pipe.send_bytes(b"ready")
    call: Callable[[object], object] | None = None
    while True:
        try:
            message = pipe.recv_bytes()
        except EOFError:
            return
        try:
            pickled, argument = pickle.loads(message)
            if pickled is not None:
                call = pickle.loads(pickled)
            assert call is not None
            answer = pickle.dumps((True, call(argument)))
        except Exception as error:
            answer = pickle.dumps((False, portable(error)))
        pipe.send_bytes(answer)


def portable(error: Exception) -> Exception:
    """The error, or if it does not survive the way its name and text."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _end_with_parent() -> None:
    """A search that was killed leaves no evaluation behind."""
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
