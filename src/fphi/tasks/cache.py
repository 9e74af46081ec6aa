"""Decoded pools kept between runs, so that a data set is decoded once per machine."""

import contextlib
import hashlib
import os
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fphi.tasks.pool import ClassPool

__all__ = ["cache_folder", "cached_pool"]


def cache_folder() -> Path:
    """Return the folder that FPHI_CACHE names, else ~/.cache/fphi."""
    named = os.environ.get("FPHI_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "fphi"


def cached_pool(name: str, fingerprint: str, build: Callable[[], ClassPool]) -> ClassPool:
    """Return the pool that was stored under this name and fingerprint, or build and store it.

    A stored file that is missing or damaged is rebuilt; a cache that cannot be written is done without.
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
        with path.open("rb") as stored, np.load(stored, allow_pickle=False) as file:
            return ClassPool(
                images=file["images"],
                starts=file["starts"],
                sizes=file["sizes"],
                names=tuple(file["names"].tolist()),
                groups=tuple(file["groups"].tolist()),
                turns=file["turns"],
            )
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return None


def _save(path: Path, pool: ClassPool) -> None:
    """Write beside the target and rename, so that no reader ever sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(
                file,
                images=pool.images,
                starts=pool.starts,
                sizes=pool.sizes,
                names=np.array(pool.names),
                groups=np.array(pool.groups),
                turns=pool.turns,
            )
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
