"""The IDX format, in which MNIST and its kin are published: a header, then the array, often gzipped."""

from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fphi.errors import DataError
from fphi.tasks.packed import unpacked

__all__ = ["read_idx"]

_UNSIGNED_BYTES = 8
"""The format's number for them, the only type read here."""

_MOST = 2**29
_MOST_DIMENSIONS = 8
"""Bytes and dimensions of an array, more than any that is published; a header can claim what it likes."""


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read an array of bytes of any dimensions from an IDX file, gzipped or not.

    Raises:
        DataError: it cannot be read, or holds more, less or something else.
    """
    with unpacked(path) as file:
        head = file.read(4)
        if len(head) < 4 or head[:3] != bytes((0, 0, _UNSIGNED_BYTES)):
            raise DataError(f"{path} is no IDX file of bytes: it begins with {head.hex(' ')}; fetch it again")
        sizes = file.read(4 * head[3])
        if len(sizes) < 4 * head[3]:
            raise DataError(f"{path} ends within its header; fetch it again")
        shape = tuple(int.from_bytes(sizes[i : i + 4], "big") for i in range(0, len(sizes), 4))
        if not 1 <= len(shape) <= _MOST_DIMENSIONS or not 1 <= prod(shape) <= _MOST:
            raise DataError(
                f"{path} claims {len(shape)} dimensions and {prod(shape)} bytes, not 1 to {_MOST_DIMENSIONS} "
                f"and 1 to {_MOST}; fetch it again"
            )
        content = file.read(prod(shape) + 1)
    if len(content) != prod(shape):
        more = " or more" if len(content) > prod(shape) else ""
        raise DataError(
            f"{path} holds {len(content)} bytes{more}, not {prod(shape)} for {shape}; fetch it again"
        )
    return np.frombuffer(content, np.uint8).reshape(shape)
