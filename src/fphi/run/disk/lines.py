"""A file of one JSON object a line, written as they come; what a power cut left half written is dropped."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from fphi.errors import FphiError
from fphi.run.disk.files import disk_errors, parse_json, replace_file
from fphi.run.disk.schema import group
from fphi.run.disk.temporary import open_to_append

__all__ = ["LineFile", "whole_lines"]

E = TypeVar("E")


def whole_lines(path: Path) -> list[bytes]:
    """The lines that have an end; none if there is no file."""
    if not path.exists():
        return []
    with disk_errors(path):
        return path.read_bytes().split(b"\n")[:-1]


class LineFile(Generic[E]):
    """The entries of a file, and those that are added to it; each is on disk when `add` returns.

    Args:
        path: the file; it need not exist.
        read: an entry from its JSON object; a `ValueError`, `KeyError` or `TypeError` if it is none.
        mend: what to do about a damaged file, for the message.

    Raises:
        FphiError: a whole line is damaged, or the file cannot be written.
    """

    def __init__(self, path: Path, read: Callable[[dict[str, Any]], E], mend: str) -> None:
        self.path = path
        self.entries: list[E] = []
        lines = whole_lines(path)
        for number, line in enumerate(lines, start=1):
            try:
                self.entries.append(read(group(parse_json(line), "the line")))
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                reason = " ".join(str(error).split())
                raise FphiError(f"{path} is damaged in line {number} ({reason}); {mend}") from error
        replace_file(path, b"".join(line + b"\n" for line in lines))
        with disk_errors(path):
            # Without a buffer: what a full disk did not take would be tried again when it is closed.
            self._file = open_to_append(path)

    def add(self, content: dict[str, Any]) -> None:
        """Append an object."""
        line = json.dumps(content, separators=(",", ":")).encode() + b"\n"
        with disk_errors(self.path, len(line)):
            while line:
                line = line[self._file.write(line) :]
            os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()
