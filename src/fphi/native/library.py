"""The compiled kernels: which binary fits this processor, and calls of its functions with tensors."""

import ctypes
import os
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from fphi.errors import FphiError
from fphi.native.fingerprint import fingerprint

__all__ = ["describe", "kernel", "kernel_threads", "library"]

# Of glibc's mallopt; 2**25 is the most that the second takes.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_SUFFIX = {torch.float32: "f", torch.float64: "d"}
# By what torch found this processor to be capable of, the binaries that run on it, best first.
_VARIANTS = {"AVX512": ("avx512", "avx2"), "AVX2": ("avx2",), "DEFAULT": ("neon",)}
_ANEW = "install fphi again, or in a checkout run python setup.py build_ext --inplace"


# How many threads a kernel spreads its tasks over.
_THREADS: ContextVar[int] = ContextVar("threads", default=1)


class _Refused(Exception):  # noqa: N818 -- no error: PyTorch computes the same
    """A binary that is there and must not be used: why, in words."""


@cache
def library() -> ctypes.CDLL | None:
    """The kernels for this processor; None where there are none.

    ``FPHI_NATIVE=0`` forbids them, ``FPHI_NATIVE=FILE`` names another binary.

    Raises:
        FphiError: ``FPHI_NATIVE`` names none that can be used.
    """
    try:
        found = _found()
    except _Refused as refused:
        warnings.warn(f"{refused}; fphi computes in pure PyTorch, more slowly: {_ANEW}", stacklevel=2)
        return None
    if isinstance(found, str):
        return None
    _keep_freed_memory()
    return found


def describe() -> str:
    """Which kernels are in use, in words."""
    try:
        found = _found()
    except _Refused as refused:
        found = f"{refused}: {_ANEW}"
    if isinstance(found, str):
        return f"pure PyTorch, for {found}"
    return f"native kernels ({Path(found._name).stem.removeprefix('kernels-')})"


def _found() -> ctypes.CDLL | str:
    """The kernels, or why there are none."""
    wish = os.environ.get("FPHI_NATIVE", "")
    if wish == "0":
        return "FPHI_NATIVE=0"
    if wish not in ("", "1"):
        return _named(wish)
    here = Path(__file__).parent
    names = [f"kernels-{variant}.so" for variant in _VARIANTS.get(_capability(), _VARIANTS["DEFAULT"])]
    refusals = []
    for file in (here / name for name in names if (here / name).exists()):
        try:
            return _opened(file)
        except _Refused as refused:
            refusals.append(refused)
    if refusals:
        raise refusals[0]
    return _no_binary(here)


def _no_binary(folder: Path) -> str:
    others = ", ".join(sorted(f.stem.removeprefix("kernels-") for f in folder.glob("kernels-*.so")))
    if not others:
        return "no native kernels were compiled when fphi was installed (is there a C++ compiler?)"
    wish = os.environ.get("ATEN_CPU_CAPABILITY")
    told = f", as ATEN_CPU_CAPABILITY={wish} says" if wish else ""
    return f"kernels were compiled for {others}, and torch takes this processor for {_capability()}{told}"


def _capability() -> str:
    return torch.backends.cpu.get_cpu_capability()


def _named(wish: str) -> ctypes.CDLL:
    """The binary that ``FPHI_NATIVE`` names."""
    if not Path(wish).is_file():
        raise FphiError(
            f"FPHI_NATIVE={wish} is no file; use 0 for pure PyTorch, 1 for the kernels that were compiled "
            "with fphi, or the path of others"
        )
    try:
        return _opened(Path(wish))
    except _Refused as refused:
        raise FphiError(
            f"FPHI_NATIVE: {refused}; compile it with -DFPHI_FINGERPRINT={fingerprint()}, as `make sanitize` "
            "does"
        ) from None


def _opened(file: Path) -> ctypes.CDLL:
    """The binary in a file, of which it is known that it was compiled from the sources that are here.

    The names of its functions would be the same with other arguments, and its numbers then wrong.
    """
    try:
        if not _is_whole(file):
            raise _Refused(f"{file} is damaged")
        found = ctypes.CDLL(str(file.resolve()))
    except OSError as error:
        raise _Refused(f"{file} cannot be loaded ({error})") from None
    told = getattr(found, "fphi_fingerprint", None)
    if told is not None:
        told.restype = ctypes.c_char_p
    if told is None or told() != fingerprint().encode():
        raise _Refused(f"{file} was compiled from other sources than this fphi's")
    return found


def _is_whole(file: Path) -> bool:
    """Whether an ELF file goes on to its end, the table of sections: half of one ends the process."""
    with file.open("rb") as opened:
        head = opened.read(64)
    if len(head) < 64 or head[:5] != b"\x7fELF\x02":
        return len(head) == 64  # of another kind
    (start,), (size, number) = struct.unpack_from("<Q", head, 40), struct.unpack_from("<HH", head, 58)
    end: int = start + size * number
    return file.stat().st_size >= end


def _keep_freed_memory() -> None:
    """Let glibc keep up to a gigabyte that is freed, for the next step, and the same for all threads.

    Each step needs the same large maps. Given back to the system and asked for again they come as fresh
    pages, which takes a tenth to a fifth of all time. Heaps that threads have of their own are given back
    whatever is said here, so there is one.
    """
    with suppress(AttributeError, OSError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in ((_TRIM_THRESHOLD, 2**30), (_MMAP_THRESHOLD, 2**25), (_ARENA_MAX, 1)):
            mallopt(parameter, value)


@contextmanager
def kernel_threads(number: int) -> Iterator[None]:
    """Here each kernel spreads its tasks over so many threads, which changes no bit of what it computes."""
    before = _THREADS.set(number)
    try:
        yield
    finally:
        _THREADS.reset(before)


def kernel(name: str, *arguments: Tensor | int | float | None) -> None:
    """Call a function of the C interface: tensors as pointers, all of the dtype of the first one, or bytes.

    The interpreter's lock is free meanwhile. Tensors must be contiguous and in this computer's memory.

    Raises:
        MemoryError: there is none left for what the kernel keeps meanwhile.
    """
    found = library()
    assert found is not None
    dtype = next(a for a in arguments if isinstance(a, Tensor)).dtype
    function = getattr(found, f"{name}_{_SUFFIX[dtype]}")
    if function.argtypes is None:  # else numbers are passed as the int of C, which has half an address
        function.argtypes = [*map(_kind, arguments), ctypes.c_int64]
    given = [_address(a, dtype) if isinstance(a, Tensor) else a for a in arguments]
    if function(*given, _THREADS.get()):
        raise MemoryError(f"no memory left for the native kernel {name}")


def _kind(argument: Tensor | int | float | None) -> type:
    if isinstance(argument, float):
        return ctypes.c_double
    return ctypes.c_int64 if isinstance(argument, int) else ctypes.c_void_p


def _address(tensor: Tensor, dtype: torch.dtype) -> int:
    assert tensor.dtype in (dtype, torch.uint8)
    assert tensor.is_cpu
    assert tensor.is_contiguous()
    return tensor.data_ptr()
