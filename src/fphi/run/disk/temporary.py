"""A file beside another, under a name that nobody can guess, until it is moved to that one's place."""

import contextlib
import os
import re
import secrets
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from fphi.run.disk.locks import lock

__all__ = ["file_beside", "open_to_append"]

_NAME = re.compile(r"\.fphi-[0-9a-f]{32}\.tmp")
# A link is not followed, a pipe not waited for; Windows has neither flag.
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


@contextlib.contextmanager
def file_beside(path: Path) -> Iterator[tuple[IO[bytes], Path]]:
    """A new file in the folder of ``path`` and its name; what has this name in the end is deleted.

    It is locked while it is open. What has no lock was left by a process that was killed, and is deleted
    here, so that it takes no room from the next try.
    """
    _remove_leftovers(path.parent)
    handle, name = _create(path.parent)
    while not lock(handle) or os.fstat(handle).st_nlink == 0:  # taken for a leftover before it had a lock
        os.close(handle)
        handle, name = _create(path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file, name
    finally:
        with contextlib.suppress(OSError):
            os.unlink(name)


def open_to_append(path: Path) -> IO[bytes]:
    """Open a file to append to, without a buffer, and not what a link leads to."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | _NO_LINK, 0o666)
    return os.fdopen(handle, "ab", buffering=0)


def _create(folder: Path) -> tuple[int, Path]:
    name = folder / f".fphi-{secrets.token_hex(16)}.tmp"
    return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK, 0o666), name


def _remove_leftovers(folder: Path) -> None:
    if sys.platform == "win32":  # no locks to know them by
        return
    for name in filter(_NAME.fullmatch, os.listdir(folder)):
        with contextlib.suppress(OSError):  # another process was quicker, or it is another user's
            handle = os.open(folder / name, os.O_RDONLY | _NO_LINK)
            try:
                if stat.S_ISREG(os.fstat(handle).st_mode) and lock(handle):
                    os.unlink(folder / name)
            finally:
                os.close(handle)
