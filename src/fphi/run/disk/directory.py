"""The folder of a run: who may write into it."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from fphi.errors import FphiError
from fphi.run.disk.checkpoint import BEST, LAST
from fphi.run.disk.files import disk_errors

__all__ = ["claim", "require_usable"]

# What a folder that holds a run has, the first of it what a run is resumed from.
_OF_A_RUN = (LAST, BEST, "log.csv")


def require_usable(out: Path, resume: bool, files: Sequence[str] = _OF_A_RUN) -> None:
    """Raise unless a new run may begin in ``out`` or, with ``resume``, the run there can go on.

    Args:
        out: the folder.
        resume: whether a run there is to go on.
        files: what a folder that holds a run has, the first of it what a run is resumed from.

    Raises:
        FphiError: a new run would overwrite one, or there is none to resume.
    """
    held = [name for name in files if (out / name).exists()]
    if held and not resume:
        go_on = ", or go on with --resume" if files[0] in held else ""
        raise FphiError(f"{out} already holds a run ({held[0]}); choose another folder{go_on}")
    if resume and files[0] not in held:
        raise FphiError(
            f"there is no run to resume in {out} (no {files[0]}); check the folder, or omit --resume"
        )


@contextmanager
def claim(out: Path, resume: bool, files: Sequence[str] = _OF_A_RUN) -> Iterator[None]:
    """Make the folder, and keep other processes from training in it meanwhile; see `require_usable`."""
    require_usable(out, resume, files)
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        file = (out / ".lock").open("w")
    with file:
        if not _lock(file):
            raise FphiError(f"another process is training in {out}; wait for it, or choose another folder")
        yield


def _lock(file: IO[str]) -> bool:
    """Whether this process has the lock now; the system gives it back however the process ends."""
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system without locks: the check for an existing run has to do
    return True
