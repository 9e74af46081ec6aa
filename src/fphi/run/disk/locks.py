"""Locks on files: the system gives them back however a process ends."""

import sys

__all__ = ["lock"]


def lock(handle: int) -> bool:
    """Whether this process has the lock of an open file now; where there are no locks, it has.

    Args:
        handle: of the file; the lock ends with it.
    """
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system without locks: the check for an existing run has to do
    return True
