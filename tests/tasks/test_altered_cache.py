"""Caches that are whole files, but not what was written: they are built again."""

import io
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fphi.errors import FphiError
from fphi.tasks import ClassPool, load_tasks
from fphi.tasks.cache import _seal, cached_pool
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


def altered(stored: Path, sealed: bool, **parts: Any) -> None:
    """Write a cache with other arrays; sealed as one that knows how would do it."""
    with np.load(stored) as file:
        arrays: dict[str, Any] = {**{name: file[name] for name in file if name != "seal"}, **parts}
        seal = file["seal"]
    np.savez(stored, **arrays)
    with zipfile.ZipFile(stored, "a") as written:
        written.writestr("seal", _seal(written.infolist()) if sealed else seal)


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("images", np.zeros((5, 4, 4), np.uint8)),
        ("images", np.zeros((5, 1, 4, 4), np.float32)),
        ("starts", np.array([0, 4])),
        ("starts", np.array([-1, 2])),
        ("starts", np.array([0, 2**63 - 1])),
        ("starts", np.array([0.0, 2.0])),
        ("sizes", np.array([2, 30])),
        ("sizes", np.array([-2, 3])),
        ("sizes", np.array([True, True])),
        ("names", np.array("ab")),
        ("groups", np.array([1, 2])),
        ("names", np.array(["a", "b", "c"])),
        ("turns", np.array([0, 8])),
        ("turns", np.array([0, -1])),
        ("turns", np.array(["0", "1"])),
        ("notes", np.array([1.5])),
    ],
)
def test_arrays_that_do_not_fit_are_built_again(stored: Path, sealed: bool, part: str, value: Any) -> None:
    altered(stored, sealed, **{part: value})
    assert rebuilt()
    assert not rebuilt()


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("images", MADE.images[::-1].copy()),
        ("images", np.zeros_like(MADE.images)),
        ("starts", np.array([3, 0])),
        ("sizes", np.array([1, 3])),
        ("names", np.array(["class1", "class0"])),
        ("groups", np.array(["x", "x"])),
        ("turns", np.array([0, 1])),
        ("notes", np.array(["all is well"])),
    ],
)
def test_arrays_that_fit_but_are_others_are_built_again(stored: Path, part: str, value: Any) -> None:
    altered(stored, False, **{part: value})
    assert rebuilt()
    assert not rebuilt()


def test_arrays_in_each_others_place_are_built_again(stored: Path) -> None:
    altered(stored, False, starts=MADE.sizes, sizes=MADE.starts)
    assert rebuilt()


def test_a_cache_without_a_seal_is_built_again(stored: Path) -> None:
    """As those of before."""
    with np.load(stored) as file:
        arrays: dict[str, Any] = {name: file[name] for name in file if name != "seal"}
    np.savez(stored, **arrays)
    assert rebuilt()


def test_what_is_said_of_the_images_is_kept(stored: Path) -> None:
    noted = replace(MADE, notes=("in colour", "two are left out"))
    pools = [cached_pool("noted", "v1", lambda: noted) for _ in range(2)]
    assert [pool.notes for pool in pools] == [noted.notes] * 2


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
            if name != "seal":
                file.writestr(name, header.getvalue() + bytes(80) if name == "images.npy" else content)
        file.writestr("seal", _seal(file.infolist()))
    assert rebuilt()


def test_a_cache_that_is_compressed_is_none_of_ours(stored: Path) -> None:
    with zipfile.ZipFile(stored) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(stored, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in parts.items():
            file.writestr(name, content)
    assert rebuilt()


@pytest.mark.parametrize("size", [1025, 100_000, 10**19])
def test_images_of_a_size_that_no_memory_holds_are_refused(size: int) -> None:
    with pytest.raises(FphiError, match=f"--image-size is {size}; it must be at most 1024"):
        load_tasks("omniglot", image_size=size)
