"""The compiled kernels: which binary fits this processor, and calls of its functions with tensors."""

import ctypes
import os
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

__all__ = ["describe", "kernel", "library"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's mallopt; 2**25 is the most that the latter takes
_SUFFIX = {torch.float32: "f", torch.float64: "d"}
# By what torch found this processor to be capable of, the binaries that run on it, best first.
_VARIANTS = {"AVX512": ("avx512", "avx2"), "AVX2": ("avx2",), "DEFAULT": ("neon",)}


@cache
def library() -> ctypes.CDLL | None:
    """The kernels for this processor; None where there are none.

    ``FPHI_NATIVE=0`` forbids them, ``FPHI_NATIVE=FILE`` names another binary.
    """
    wish = os.environ.get("FPHI_NATIVE", "")
    if wish == "0":
        return None
    capability = torch.backends.cpu.get_cpu_capability()
    names = (f"kernels-{variant}.so" for variant in _VARIANTS.get(capability, _VARIANTS["DEFAULT"]))
    files = [Path(wish)] if wish not in ("", "1") else [Path(__file__).with_name(name) for name in names]
    for file in files:
        # One that does not load was made for another kind of machine.
        with suppress(OSError):
            found = ctypes.CDLL(str(file.resolve()))
            _keep_freed_memory()
            return found
    return None


def _keep_freed_memory() -> None:
    """Let glibc keep up to half a gigabyte that is freed, for the next step.

    Each step needs the same large maps. Given back to the system and asked for again they come as fresh
    pages, which takes a tenth to a fifth of all time.
    """
    with suppress(AttributeError, OSError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in ((_TRIM_THRESHOLD, 2**29), (_MMAP_THRESHOLD, 2**25)):
            mallopt(parameter, value)


def describe() -> str:
    """Which kernels are in use, in words."""
    found, wish = library(), os.environ.get("FPHI_NATIVE", "")
    if found is not None:
        return f"native kernels ({Path(found._name).stem.removeprefix('kernels-')})"
    if wish == "0":
        return "pure PyTorch, for FPHI_NATIVE=0"
    if wish not in ("", "1"):
        return f"pure PyTorch, for FPHI_NATIVE={wish} cannot be loaded"
    return (
        "pure PyTorch, for no native kernels were compiled when fphi was installed (is there a C++ compiler?)"
    )


def kernel(name: str, *arguments: Tensor | int | float | None) -> None:
    """Call a function of the C interface: tensors as pointers, all of the dtype of the first one.

    The interpreter's lock is free meanwhile. Tensors must be contiguous.
    """
    found = library()
    assert found is not None
    first = next(a for a in arguments if isinstance(a, Tensor))
    getattr(found, f"{name}_{_SUFFIX[first.dtype]}")(*map(_as_c, arguments))


def _as_c(argument: Tensor | int | float | None) -> object:
    if isinstance(argument, Tensor):
        assert argument.is_contiguous()
        return ctypes.c_void_p(argument.data_ptr())
    if isinstance(argument, float):
        return ctypes.c_double(argument)
    return None if argument is None else ctypes.c_int64(argument)
