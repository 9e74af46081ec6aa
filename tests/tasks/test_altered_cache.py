"""Caches that are whole files, but not what was written: they are built again."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fphi.errors import FphiError
from fphi.tasks import ClassPool, load_tasks
from fphi.tasks.cache import cached_pool
from tasks_helpers import labelled_pool

MADE = labelled_pool([2, 3], ["x", "y"])


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FPHI_CACHE", str(tmp_path))
    cached_pool("toy", "v1", lambda: MADE)
    (path,) = tmp_path.iterdir()
    return path


def rebuilt() -> bool:
    calls: list[int] = []

    def build() -> ClassPool:
        calls.append(1)
        return MADE

    pool = cached_pool("toy", "v1", build)
    assert np.array_equal(pool.images, MADE.images)
    return bool(calls)


def test_a_cache_that_is_as_it_was_written_is_used(stored: Path) -> None:
    assert not rebuilt()


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("images", np.zeros((5, 4, 4), np.uint8)),
        ("images", np.zeros((5, 1, 4, 4), np.float32)),
        ("starts", np.array([0, 4])),
        ("starts", np.array([-1, 2])),
        ("starts", np.array([0, 2**63 - 1])),
        ("sizes", np.array([2, 30])),
        ("sizes", np.array([-2, 3])),
        ("names", np.array("ab")),
        ("groups", np.array([1, 2])),
        ("names", np.array(["a", "b", "c"])),
        ("turns", np.array([0, 8])),
        ("turns", np.array([0, -1])),
        ("turns", np.array(["0", "1"])),
    ],
)
def test_arrays_that_do_not_fit_are_built_again(stored: Path, part: str, value: Any) -> None:
    with np.load(stored) as file:
        arrays: dict[str, Any] = {**file, part: value}
    np.savez(stored, **arrays)
    assert rebuilt()
    assert not rebuilt()


@pytest.mark.parametrize("shape", [(10**12,), (10**6, 10**6, 10**6), (2**40, 1, 4, 4), (-5, 1, 4, 4)])
def test_an_array_that_claims_more_than_there_is_is_never_allocated(
    stored: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...]
) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(stored) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(stored, "w") as file:
        for name, content in parts.items():
            file.writestr(name, header.getvalue() + bytes(80) if name == "images.npy" else content)
    assert rebuilt()


def test_a_cache_that_is_compressed_is_none_of_ours(stored: Path) -> None:
    with np.load(stored) as file:
        arrays: dict[str, Any] = dict(file)
    np.savez_compressed(stored, **arrays)
    assert rebuilt()


@pytest.mark.parametrize("size", [1025, 100_000, 10**19])
def test_images_of_a_size_that_no_memory_holds_are_refused(size: int) -> None:
    with pytest.raises(FphiError, match=f"--image-size is {size}; it must be at most 1024"):
        load_tasks("omniglot", image_size=size)
