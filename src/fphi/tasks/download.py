"""Fetch a published file over https, checked against its checksum."""

import contextlib
import hashlib
import os
import tempfile
import urllib.request
from collections.abc import Callable
from pathlib import Path

from fphi.errors import DataError

__all__ = ["download"]

_TIMEOUT = 60.0
"""Seconds without an answer."""


def download(url: str, target: Path, md5: str) -> None:
    """Fetch ``url`` to ``target``; the file appears there only when it is whole and its MD5 is right.

    Raises:
        DataError: saying what to fetch by hand and where to put it.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=target.stem, suffix=".part")
    except OSError as error:
        raise DataError(
            f"{target} cannot be written ({error.strerror}); choose another data folder"
        ) from error
    try:
        with os.fdopen(handle, "wb") as file:
            found = _fetch(url, file.write)
        if found != md5:
            raise DataError(f"{url} arrived with MD5 {found}, not {md5}; fetch it by hand to {target}")
        os.replace(temporary, target)
    except OSError as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{url} could not be fetched ({reason}); fetch it by hand to {target}") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def _fetch(url: str, write: Callable[[bytes], object]) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:
        while chunk := answer.read(1 << 20):
            digest.update(chunk)
            write(chunk)
    return digest.hexdigest()
