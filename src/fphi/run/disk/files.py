"""Files that are either whole or not there: replaced in one move, and sealed by a checksum."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias, Union

import safetensors
import safetensors.torch
from torch import Tensor

from fphi.errors import FphiError
from fphi.run.disk.temporary import file_beside

__all__ = ["Json", "disk_errors", "parse_json", "read_sealed", "replace_file", "write_sealed", "write_text"]

Json: TypeAlias = Union[bool, int, float, str, "list[Json]", "dict[str, Json]", None]

# A safetensors file is: 8 bytes, the header's length; the header, in JSON; the tensors' bytes.
# Ours begin with this, after the length. The digest that follows is over the whole file, taken with
# zeros in the digest's place; one metadata key, since safetensors writes several in random order.
_MARK = rb'{"__metadata__":{"fphi":"{\"sha256\":\"'
_DIGEST = slice(8 + len(_MARK), 8 + len(_MARK) + 64)
_BLANK = b"0" * 64


def write_sealed(path: Path, tensors: Mapping[str, Tensor], content: Json) -> None:
    """Write tensors and JSON as one safetensors file with a SHA-256 over both, atomically.

    Equal tensors and content give equal bytes.

    Raises:
        FphiError: the disk is full or the folder cannot be written; the old file is as it was.
    """
    text = json.dumps({"sha256": _BLANK.decode(), "content": content}, separators=(",", ":"))
    # Clones, because safetensors refuses tensors that share memory (tied parameters).
    copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    raw = safetensors.torch.save(copies, {"fphi": text})
    replace_file(path, raw[: _DIGEST.start] + _digest(raw) + raw[_DIGEST.stop :])


def read_sealed(path: Path) -> tuple[dict[str, Tensor], Json]:
    """The tensors and the JSON of a file that `write_sealed` wrote. Runs no code from the file.

    Raises:
        FphiError: no such file; not such a file; cut short or changed after it was written.
    """
    raw = _read(path)
    if not _MARK.startswith(raw[8 : _DIGEST.start]):
        pickled = ", but a pickle, which is never opened" if raw[:1] in (b"\x80", b"P") else ""
        raise FphiError(f"{path} is not a file that fphi wrote{pickled}; check the path")
    if _digest(raw) != raw[_DIGEST]:
        best = path.name.startswith("best")
        instead = "restore it from a copy" if best else "use best.safetensors of that run"
        raise FphiError(
            f"{path} is damaged: it was cut short or changed after it was written (SHA-256 differs, "
            f"{len(raw)} bytes); {instead}, or train again in another folder without --resume"
        )
    try:
        header = parse_json(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
        content: Json = parse_json(header["__metadata__"]["fphi"])["content"]
        return safetensors.torch.load(raw), content
    except (ValueError, KeyError, TypeError, RecursionError, safetensors.SafetensorError) as error:
        raise FphiError(f"{path} was put together by something else than fphi; do not use it") from error


def parse_json(text: str | bytes, *, once: bool = False) -> Any:
    """What a text in JSON says.

    Args:
        text: the text.
        once: whether a name may stand only once in an object; else the last counts.

    Raises:
        ValueError: it is not valid, is nested too deeply, or holds a whole number that no float comes near.
    """
    try:
        return json.loads(text, parse_int=_whole, object_pairs_hook=_once if once else None)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"two entries {name[:50]!r}")
        found[name] = value
    return found


def _whole(digits: str) -> int:
    try:
        number = int(digits)
        float(number)
    except (ValueError, OverflowError):
        raise ValueError(f"a number of {len(digits)} digits is too large") from None
    return number


def replace_file(path: Path, data: bytes) -> None:
    """Write a file so that a crash at any moment leaves the old one or the new one, whole.

    Raises:
        FphiError: it cannot be written; the old file is as it was.
    """
    with disk_errors(path, len(data)):
        with file_beside(path) as (file, name):
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            if sys.platform == "win32":  # which moves no open file
                file.close()
            os.replace(name, path)
        _sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text as `replace_file` does; its folder is made if there is none.

    Raises:
        FphiError: it cannot be written; the old file is as it was.
    """
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise FphiError(f"cannot write {path}: {error}; take out what is no text") from error
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, data)


@contextlib.contextmanager
def disk_errors(path: Path, needed: int | None = None) -> Iterator[None]:
    """Turn an ``OSError`` within into an ``FphiError`` that names the path, and a full disk as such."""
    if "\0" in str(path):
        raise FphiError(f"{str(path)!r} holds a character that no path has; choose another name")
    try:
        yield
    except OSError as error:
        raise FphiError(_explain(path, needed, error)) from error


def _explain(path: Path, needed: int | None, error: OSError) -> str:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return f"cannot write {path}: {error.strerror or error}; check the folder and its permissions"
    folder = next(f for f in path.absolute().parents if f.exists())  # a folder may be what had no room
    free = shutil.disk_usage(folder).free
    wanted = "" if needed is None else f"{needed} bytes needed, "
    return (
        f"cannot write {path}: the disk is full ({wanted}{free} free); free some, and run the command again, "
        "a training with --resume"
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise FphiError(f"there is no {path}; check the folder") from error
    except OSError as error:
        raise FphiError(
            f"cannot read {path}: {error.strerror}; check the path and its permissions"
        ) from error


def _digest(raw: bytes) -> bytes:
    view = memoryview(raw)
    whole = hashlib.sha256(view[: _DIGEST.start])
    whole.update(_BLANK)
    whole.update(view[_DIGEST.stop :])
    return whole.hexdigest().encode()


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut; Windows has no such call and does not need it."""
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
