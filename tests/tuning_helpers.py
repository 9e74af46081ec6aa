"""What the tests of tunings share."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

__all__ = ["no_waiting_for_the_disk"]


@contextmanager
def no_waiting_for_the_disk() -> Iterator[None]:
    """Nothing is forced onto the disk, which would only help if the power were cut."""
    connect = sqlite3.connect

    def relaxed(path: Path | str, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(path, **options)
        connection.execute("PRAGMA synchronous=OFF")
        return connection

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite3, "connect", relaxed)
        patch.setattr(os, "fsync", lambda number: None)
        yield
