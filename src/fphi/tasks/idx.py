"""The IDX format, in which MNIST and its kin are published: a header, then the array, often gzipped."""

import gzip
import zlib
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fphi.errors import DataError

__all__ = ["read_idx"]

_UNSIGNED_BYTES = 8
"""The format's number for them, the only type read here."""


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read an array of bytes of any dimensions from an IDX file, gzipped or not.

    Raises:
        DataError: it cannot be read, or holds more, less or something else.
    """
    try:
        raw = path.read_bytes()
        if raw[:2] == b"\x1f\x8b":
            raw = gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path} cannot be read ({reason}); fetch it again") from error
    if len(raw) < 4 or raw[:3] != bytes((0, 0, _UNSIGNED_BYTES)):
        raise DataError(f"{path} is no IDX file of bytes: it begins with {raw[:4].hex(' ')}; fetch it again")
    start = 4 + 4 * raw[3]
    if len(raw) < start:
        raise DataError(f"{path} ends within its header; fetch it again")
    shape = tuple(int.from_bytes(raw[i : i + 4], "big") for i in range(4, start, 4))
    if len(raw) - start != prod(shape):
        raise DataError(
            f"{path} holds {len(raw) - start} bytes, not {prod(shape)} for {shape}; fetch it again"
        )
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)
