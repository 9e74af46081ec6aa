"""The compiled kernels: which binary fits this processor, and calls of its functions with tensors."""

import ctypes
import os
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

__all__ = ["describe", "kernel", "library"]

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
            return ctypes.CDLL(str(file.resolve()))
    return None


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
