"""Programs in processes that begin at once: copies of one that has loaded torch and fphi, and done nothing else."""

import multiprocessing
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from waiting import PATIENCE

__all__ = ["Forked"]

# What takes seconds to load; torch would load the last one with its first optimizer.
_LOADED = ["fphi.cli.train", "torch._dynamo"]


class Forked:
    """A program in a process of its own, used as a ``subprocess.Popen`` with pipes.

    Args:
        program: what runs, a function of a module; what it returns is the exit status.
        words: its command line.
    """

    def __init__(self, program: Callable[[], object], *words: object) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_LOADED)
        self._said = Path(tempfile.mkdtemp())
        arguments = (program, [str(word) for word in words], self._said)
        self._process = context.Process(target=_run, args=arguments)
        self._process.start()

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def send_signal(self, number: int) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        self._process.kill()

    def communicate(self, timeout: float = PATIENCE) -> tuple[str, str]:
        """Wait for its end; what it has said."""
        self._process.join(timeout)
        assert self.returncode is not None, "it hangs"
        texts = [path.read_text() if path.exists() else "" for path in (self._said / "1", self._said / "2")]
        shutil.rmtree(self._said)
        return texts[0], texts[1]


def _run(program: Callable[[], object], words: list[str], said: Path) -> None:
    for number in (1, 2):
        file = os.open(said / str(number), os.O_WRONLY | os.O_CREAT)
        os.dup2(file, number)
        os.close(file)
    for name in (
        "RANK",
        "LOCAL_RANK",
        "WORLD_SIZE",
        "FPHI_FIRST_RANK",
    ):  # what a launcher of several processes may have left
        os.environ.pop(name, None)
    torch.set_num_threads(1)
    sys.argv = words
    sys.exit(program())  # type: ignore[arg-type]
