"""Decoded pools kept between runs, so that a data set is decoded once per machine."""

import contextlib
import hashlib
import math
import os
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from fphi.tasks.pool import ClassPool

__all__ = ["cache_folder", "cached_pool"]

_DAMAGED = (
    *(OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, OverflowError),
    *(zipfile.BadZipFile, zlib.error, struct.error, MemoryError),
)
"""What reading a file raises that `_save` did not write."""

_SEAL = "seal"  # beside the arrays


def cache_folder() -> Path:
    """Return the folder that FPHI_CACHE names, else ~/.cache/fphi."""
    named = os.environ.get("FPHI_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "fphi"


def cached_pool(name: str, fingerprint: str, build: Callable[[], ClassPool]) -> ClassPool:
    """Return the pool that was stored under this name and fingerprint, or build and store it.

    A stored file that is missing, damaged or altered is rebuilt; a cache that cannot be written is done
    without.
    """
    digest = hashlib.blake2b(fingerprint.encode(), digest_size=8).hexdigest()
    path = cache_folder() / f"{name}-{digest}.npz"
    stored = _load(path)
    if stored is not None:
        return stored
    pool = build()
    with contextlib.suppress(OSError):
        _save(path, pool)
    return pool


def _load(path: Path) -> ClassPool | None:
    try:
        # Opened here, since numpy leaves the file open when it finds a damaged zip in it.
        with path.open("rb") as stored:
            _require_written(stored)
            return _pool(stored)
    except _DAMAGED:
        return None


def _require_written(file: IO[bytes]) -> None:
    """Raise unless the arrays are those that were written, and no larger than the file."""
    with zipfile.ZipFile(file) as parts:
        arrays = [part for part in parts.infolist() if part.filename != _SEAL]
        # A compressed array could unpack to more than the memory holds; ours are as large as the file.
        if any(part.compress_type != zipfile.ZIP_STORED for part in parts.infolist()):
            raise ValueError("compressed")
        if parts.read(_SEAL) != _seal(arrays):
            raise ValueError("not what was written")
        for part in arrays:
            with parts.open(part) as array:
                np.lib.format.read_magic(array)
                shape, _, dtype = np.lib.format.read_array_header_1_0(array)
            if math.prod(shape) * dtype.itemsize > part.file_size:
                raise ValueError("an array that claims more than there is")
    file.seek(0)


def _seal(parts: list[zipfile.ZipInfo]) -> bytes:
    """A digest of the checksums, which are compared with the content when it is read."""
    said = repr([(part.filename, part.CRC, part.file_size) for part in parts])
    return hashlib.blake2b(said.encode(), digest_size=16).digest()


def _pool(stored: IO[bytes]) -> ClassPool:
    with np.load(stored, allow_pickle=False) as file:
        return ClassPool(
            images=file["images"],
            starts=file["starts"],
            sizes=file["sizes"],
            names=_texts(file["names"]),
            groups=_texts(file["groups"]),
            turns=file["turns"],
            notes=_texts(file["notes"]),
        )


def _texts(array: NDArray[Any]) -> tuple[str, ...]:
    if array.dtype.kind != "U" or array.ndim != 1:
        raise ValueError("no texts")
    return tuple(array.tolist())


def _save(path: Path, pool: ClassPool) -> None:
    """Write beside the target and rename, so that no reader ever sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".part")
    try:
        with os.fdopen(handle, "w+b") as file:
            np.savez(
                file,
                images=pool.images,
                starts=pool.starts,
                sizes=pool.sizes,
                names=np.array(pool.names, dtype=np.str_),
                groups=np.array(pool.groups, dtype=np.str_),
                turns=pool.turns,
                notes=np.array(pool.notes, dtype=np.str_),
            )
            with zipfile.ZipFile(file, "a") as parts:
                parts.writestr(_SEAL, _seal(parts.infolist()))
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
