"""Files that may be gzipped, read up to a bound: a few kilobytes can unpack to more than the memory holds."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from fphi.errors import DataError

__all__ = ["read_packed", "unpacked"]


@contextmanager
def unpacked(path: Path) -> Iterator[IO[bytes] | gzip.GzipFile]:
    """Open a file, gzipped or not, to be read in pieces of the size that is asked for.

    Raises:
        DataError: it cannot be read, here or within.
    """
    if path.exists() and not path.is_file():  # a pipe would be waited for without end
        raise DataError(f"{path} is no file; give the path of one")
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if packed:
                with gzip.GzipFile(fileobj=raw) as file:
                    yield file
            else:
                yield raw
    except (OSError, EOFError, zlib.error) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path} cannot be read ({reason}); fetch it again") from error


def read_packed(path: Path, most: int) -> bytes:
    """Return the content of a file, gzipped or not.

    Raises:
        DataError: it cannot be read, or has more than ``most`` bytes.
    """
    with unpacked(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise DataError(f"{path} unpacks to more than {most} bytes, which no such file has; fetch it again")
    return content
