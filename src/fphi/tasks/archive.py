"""Files in a folder or a zip, read one at a time; a zip is never extracted to disk."""

import io
import os
import zipfile
import zlib
from abc import ABC, abstractmethod
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from fphi.errors import DataError

__all__ = ["Archive", "decode", "open_archive", "to_array"]


_LARGEST = 2**28
"""Bytes of a file in a zip: a few kilobytes can unpack to more than the memory holds."""


class Archive(ABC):
    """Named files below one path; names use "/" and are relative to it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def names(self) -> list[str]:
        """Return the names of all visible files, sorted."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Return the content of a file."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a text that changes when the content does: name, size and time of change."""

    def where(self, name: str) -> str:
        """Return the path of a file, for messages."""
        return f"{self.path}/{name}"


def open_archive(path: Path) -> Archive:
    """Open a folder or a zip file.

    Raises:
        DataError: if it does not exist, is damaged, or names files outside itself.
    """
    if path.is_dir():
        return _Folder(path)
    if not path.is_file():
        raise DataError(f"{path} does not exist; give a folder or a zip file")
    return _Zip(path)


def decode(archive: Archive, name: str) -> Image.Image:
    """Read and decode one image.

    Raises:
        DataError: naming the file, if it is not a whole image.
    """
    try:
        image = Image.open(io.BytesIO(archive.read(name)))
        image.load()
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError) as error:
        # Pillow's own words for it name the buffer in memory.
        reason = "of no known format" if isinstance(error, UnidentifiedImageError) else _one_line(error)
        raise DataError(
            f"{archive.where(name)} is not a readable image ({reason}); replace or remove it"
        ) from error
    return image


def to_array(image: Image.Image) -> NDArray[np.uint8]:
    """Return an image as uint8 [C, H, W]; two-valued images as 0 and 255."""
    array = np.asarray(image)
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    return array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)


class _Folder(Archive):
    def names(self) -> list[str]:
        found = []
        # Links are followed, but not into a folder that the walk is inside of: that has no end.
        above = {str(self.path): {os.path.realpath(self.path)}}
        for folder, inner, files in os.walk(self.path, followlinks=True):
            inside = above.pop(folder)
            real = {name: os.path.realpath(os.path.join(folder, name)) for name in inner}
            inner[:] = [name for name in inner if real[name] not in inside]
            above |= {os.path.join(folder, name): {*inside, real[name]} for name in inner}
            relative = Path(folder).relative_to(self.path)
            found += [(relative / file).as_posix() for file in files]
        return sorted(name for name in found if _visible(name))

    def read(self, name: str) -> bytes:
        path = self.path / name
        if path.exists() and not path.is_file():  # a pipe would be waited for without end
            raise DataError(f"{self.where(name)} is no file; remove it")
        try:
            return path.read_bytes()
        except OSError as error:
            raise DataError(f"{self.where(name)} cannot be read ({_one_line(error)})") from error

    def fingerprint(self) -> str:
        stats = [(self.path / name).stat() for name in self.names()]
        size, newest = sum(s.st_size for s in stats), max((s.st_mtime_ns for s in stats), default=0)
        return f"{self.path.name}/{len(stats)}/{size}/{newest}"


class _Zip(Archive):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise DataError(f"{path} is not a whole zip file ({_one_line(error)}); fetch it again") from error
        for entry in self._zip.namelist():
            _check_safe(path, entry)

    def __del__(self) -> None:
        if hasattr(self, "_zip"):
            self._zip.close()

    def names(self) -> list[str]:
        return sorted(n for n in self._zip.namelist() if not n.endswith("/") and _visible(n))

    def read(self, name: str) -> bytes:
        size = self._zip.getinfo(name).file_size
        if size > _LARGEST:
            raise DataError(f"{self.where(name)} unpacks to {size} bytes, which no image needs; remove it")
        try:
            return self._zip.read(name)
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            OSError,
            RuntimeError,
            NotImplementedError,
        ) as error:
            raise DataError(
                f"{self.where(name)} is damaged ({_one_line(error)}); fetch the zip again"
            ) from error

    def fingerprint(self) -> str:
        stat = self.path.stat()
        return f"{self.path.name}/{stat.st_size}/{stat.st_mtime_ns}"


def _check_safe(path: Path, entry: str) -> None:
    """Refuse names that point outside the archive: nothing is extracted, but such a zip is no data set."""
    parts = PurePosixPath(entry.replace("\\", "/")).parts
    if ".." in parts or entry.startswith(("/", "\\")) or (parts and parts[0].endswith(":")):
        raise DataError(f"{path} has an entry outside itself, {entry!r}; make it without that entry")


def _visible(name: str) -> bool:
    """Skip what desktops leave behind: .DS_Store, __MACOSX/, Thumbs.db."""
    parts = name.split("/")
    hidden = any(p.startswith(".") or p == "__MACOSX" for p in parts)
    return not hidden and parts[-1] not in ("Thumbs.db", "desktop.ini")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
