"""Files in a folder or a zip, read one at a time; a zip is never extracted to disk."""

import hashlib
import io
import lzma
import os
import struct
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from fphi.errors import DataError

__all__ = ["Archive", "open_archive"]


_LARGEST = 2**28
"""Bytes of one file: a few kilobytes can unpack to more than the memory holds."""
_MOST_UNPACKED = 2**31
_MOST_TIMES = 100
"""Bytes that a zip may unpack to, unless it has a hundredth of them itself."""
_LARGEST_LIST = 2**25
"""Bytes of a zip's list of its files, which is read as a whole: that of some three hundred thousand."""

_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, ValueError),
    *(struct.error, OverflowError, MemoryError),
)
"""What reading a zip raises that is not whole."""

_SAYS_UTF8, _ENCRYPTED = 0x800, 0x1  # flags of a file in a zip

_LEFT_BY_DESKTOPS = ("__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin")


class Archive(ABC):
    """Named files below one path; names use "/" and are relative to it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def names(self) -> list[str]:
        """Return the names of all visible files, sorted.

        Raises:
            DataError: it is damaged, unpacks to very much, or leads outside itself.
        """

    def linked(self) -> list[str]:
        """Return the names of links to folders, sorted: these are not followed."""
        return []

    @abstractmethod
    def size(self) -> int:
        """Return how many bytes all of it has as it is stored."""

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            DataError: it is damaged, no ordinary file, or larger than any image.
        """
        size = self._size(name)
        if size > _LARGEST:
            raise DataError(f"{self.where(name)} unpacks to {size} bytes, which no image needs; remove it")
        return self._content(name)

    def equal(self, names: Iterable[str]) -> list[list[str]]:
        """Return which of these files have the same content: lots of two or more, in the order of the names.

        Raises:
            DataError: as `read`.
        """
        sizes, lots = defaultdict[int, list[str]](list), defaultdict[bytes, list[str]](list)
        for name in names:
            sizes[self._size(name)].append(name)
        for alike in sizes.values():
            for name in alike if len(alike) > 1 else ():
                lots[hashlib.blake2b(self.read(name)).digest()].append(name)
        return [lot for lot in lots.values() if len(lot) > 1]

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a text that changes when the content does: name, size and time of change."""

    def where(self, name: str) -> str:
        """Return the path of a file, for messages."""
        return f"{self.path}/{_short(name)}"

    @abstractmethod
    def _size(self, name: str) -> int: ...

    @abstractmethod
    def _content(self, name: str) -> bytes: ...


def open_archive(path: Path) -> Archive:
    """Open a folder or a zip file.

    Raises:
        DataError: if it does not exist.
    """
    if path.is_dir():
        return _Folder(path)
    if not path.is_file():
        raise DataError(f"{path} does not exist; give a folder or a zip file")
    return _Zip(path)


class _Folder(Archive):
    def names(self) -> list[str]:
        """Links to folders within are not followed: these are found where they are, and once."""
        return self._walked()[0]

    def linked(self) -> list[str]:
        return self._walked()[1]

    def _walked(self) -> tuple[list[str], list[str]]:
        """All visible files, and all visible links to folders."""
        root, ahead = os.path.realpath(self.path), [""]
        found, links = list[str](), list[str]()
        while ahead:
            folder = ahead.pop()
            for entry in self._entries(folder):
                name = f"{folder}{entry.name}"
                if not _visible(entry.name):
                    continue
                if entry.is_symlink():
                    self._check_link(name, root)
                    (links if os.path.isdir(entry.path) else found).append(name)
                elif entry.is_dir():
                    ahead.append(f"{name}/")
                else:
                    found.append(name)
        return sorted(found), sorted(links)

    def size(self) -> int:
        return sum(self._stat(name).st_size for name in self.names())

    def fingerprint(self) -> str:
        names, links = self._walked()
        stats = [self._stat(name) for name in names]
        size, newest = sum(s.st_size for s in stats), max((s.st_mtime_ns for s in stats), default=0)
        linked = f"/{len(links)}" if links else ""
        return f"{self.path.name}/{len(stats)}/{size}/{newest}{linked}"

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self.path / folder) as entries:
                return list(entries)
        except OSError as error:
            raise DataError(f"{self.where(folder)} cannot be read ({_one_line(error)})") from error

    def _check_link(self, name: str, root: str) -> None:
        real = os.path.realpath(self.path / name)
        if real != root and not real.startswith(root.rstrip(os.sep) + os.sep):
            raise DataError(
                f"{self.where(name)} is a link out of the folder, to {_short(real)}; put a copy there"
            )

    def _stat(self, name: str) -> os.stat_result:
        try:
            return (self.path / name).stat()
        except OSError as error:
            raise DataError(f"{self.where(name)} cannot be read ({_one_line(error)}); remove it") from error

    def _size(self, name: str) -> int:
        stat = self._stat(name)
        if not (self.path / name).is_file():  # a pipe would be waited for without end
            raise DataError(f"{self.where(name)} is no file; remove it")
        return stat.st_size

    def _content(self, name: str) -> bytes:
        try:
            return (self.path / name).read_bytes()
        except OSError as error:
            raise DataError(f"{self.where(name)} cannot be read ({_one_line(error)})") from error


class _Zip(Archive):
    """Its list of files is read when it is first needed: data that are cached need no more than the path."""

    @cached_property
    def _zip(self) -> zipfile.ZipFile:
        self._file = _InPieces(io.FileIO(self.path))
        try:
            return zipfile.ZipFile(self._file)
        except _DAMAGED as error:
            raise DataError(
                f"{self.path} is not a whole zip file ({_one_line(error)}); fetch it again"
            ) from error

    @cached_property
    def _entries(self) -> dict[str, zipfile.ZipInfo]:
        # Of several files of one name the last counts, as when the zip is extracted.
        entries = {_name_in_zip(entry): entry for entry in self._zip.infolist()}
        for entry in entries.values():
            _check_safe(self.path, entry.filename)
        _check_apart(self.path, self._zip.infolist())
        unpacked, size = sum(entry.file_size for entry in entries.values()), self.size()
        if unpacked > max(_MOST_UNPACKED, _MOST_TIMES * size):
            raise DataError(
                f"{self.path} unpacks to {unpacked} bytes, {unpacked // size} times as many as it has; "
                "give its images in a folder"
            )
        return entries

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()

    def size(self) -> int:
        return self.path.stat().st_size

    def names(self) -> list[str]:
        return sorted(n for n in self._entries if not n.endswith("/") and all(map(_visible, n.split("/"))))

    def fingerprint(self) -> str:
        stat = self.path.stat()
        return f"{self.path.name}/{stat.st_size}/{stat.st_mtime_ns}"

    def _size(self, name: str) -> int:
        return self._entries[name].file_size

    def _content(self, name: str) -> bytes:
        entry = self._entries[name]
        if entry.flag_bits & _ENCRYPTED:
            raise DataError(f"{self.where(name)} is encrypted; zip it without a password")
        # Other methods unpack a piece of any size at once.
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError(f"{self.where(name)} is neither stored nor deflated; zip it in the usual way")
        try:
            return self._zip.read(entry)
        except _DAMAGED as error:
            raise DataError(
                f"{self.where(name)} is damaged ({_one_line(error)}); fetch the zip again"
            ) from error


class _InPieces(io.BufferedReader):
    """A zip, all of which is read piece by piece but the list of its files."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _LARGEST_LIST:
            raise DataError(
                f"{self.name} has a list of its files of {size} bytes, and at most {_LARGEST_LIST} are read; "
                "give its images in a folder"
            )
        return super().read(size)


def _name_in_zip(entry: zipfile.ZipInfo) -> str:
    """With "/" between folders whatever system wrote it, and UTF-8 read as such where no flag says so."""
    name = entry.filename
    if not entry.flag_bits & _SAYS_UTF8 and not name.isascii():
        try:
            name = name.encode("cp437").decode("utf-8")
        except UnicodeError:
            # Of an encoding that nothing in the file tells; in some, a backslash is half of a character.
            return name if "/" in name else name.replace("\\", "/")
    return name.replace("\\", "/")


def _check_safe(path: Path, name: str) -> None:
    """Refuse names that point outside the archive: nothing is extracted, but such a zip is no data set."""
    parts = name.replace("\\", "/").split("/")
    if ".." in parts or not parts[0] or parts[0].endswith(":"):
        raise DataError(f"{path} has an entry outside itself, {_short(name)!r}; make it without that entry")


def _check_apart(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    """Refuse files of the same bytes: a few kilobytes could be any number of images."""
    places = sorted((entry.header_offset, entry.compress_size, entry.filename) for entry in entries)
    for (start, size, name), (following, _, other) in pairwise(places):
        if start + size > following or start == following:
            raise DataError(
                f"{path} has {_short(name)!r} and {_short(other)!r} in the same place; zip them anew"
            )


def _visible(part: str) -> bool:
    """Skip what desktops leave behind: .DS_Store, __MACOSX/, Thumbs.db."""
    return not part.startswith(".") and part.lower() not in _LEFT_BY_DESKTOPS


def _short(name: str) -> str:
    return name if len(name) <= 200 else f"{name[:90]}…{name[-90:]}"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
