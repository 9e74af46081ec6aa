"""What is said on stderr: only as text, and a training goes on where nobody can hear it."""

import sys
from typing import Any

from fphi.errors import printable

__all__ = ["Voice", "say"]


class Voice:
    """Standard error as a file that never fails: closed, full or gone, what is written is lost, no more."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self._stream = (
            sys.stderr
        )  # as it is now: rich puts a file of its own in its place, which writes to this

    def write(self, text: str) -> int:
        """Write what can be written."""
        self._try("write", text)
        return len(text)

    def flush(self) -> None:
        """Pass on what is buffered, if that is possible."""
        self._try("flush")

    def isatty(self) -> bool:
        """Whether somebody watches."""
        return bool(self._try("isatty"))

    def fileno(self) -> int:
        """Of standard error itself."""
        return self._stream.fileno()

    def _try(self, name: str, *arguments: str) -> Any:
        try:
            return getattr(self._stream, name)(*arguments)
        except (OSError, ValueError, AttributeError):  # full, closed, or none at all
            return None


def say(text: str) -> None:
    """One line on stderr; what a file names cannot steer the terminal."""
    voice = Voice()
    voice.write(printable(text) + "\n")
    voice.flush()
