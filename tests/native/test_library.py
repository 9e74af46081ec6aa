"""Which binary is used: one of these very sources or none, and what is said where it is none."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from fphi import native
from fphi.errors import FphiError
from fphi.native import library as module
from fphi.native.fingerprint import fingerprint
from fphi.native.library import library
from native_helpers import needs_kernels

pytestmark = needs_kernels

PACKAGE = Path(native.__file__).parent
ROOT = PACKAGE.parents[2]


@pytest.fixture(autouse=True)
def _looked_for_anew() -> Iterator[None]:
    library.cache_clear()
    yield
    library.cache_clear()


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Nothing is wished for."""
    monkeypatch.delenv("FPHI_NATIVE", raising=False)
    return monkeypatch


def test_a_binary_of_other_sources_is_not_used(plain: pytest.MonkeyPatch) -> None:
    if not list(PACKAGE.glob("kernels-*.so")):
        pytest.skip("the kernels are those that FPHI_NATIVE names")
    plain.setattr(module, "fingerprint", lambda: "0" * 16)
    with pytest.warns(
        UserWarning, match=r"was compiled from other sources .* more slowly: install fphi again"
    ):
        assert library() is None
    assert "pure PyTorch, for " in native.describe()
    assert "was compiled from other sources" in native.describe()


def test_each_source_counts(tmp_path: Path) -> None:
    shutil.copy(PACKAGE / "fingerprint.py", tmp_path)
    shutil.copytree(PACKAGE / "kernels", tmp_path / "kernels")

    def told() -> str:
        command = [sys.executable, str(tmp_path / "fingerprint.py")]
        return subprocess.check_output(command, text=True).strip()

    assert told() == fingerprint()
    changed = tmp_path / "kernels/patches.hpp"
    changed.write_text(changed.read_text() + " ")
    assert told() != fingerprint()


def test_a_foreign_binary_is_refused(plain: pytest.MonkeyPatch) -> None:
    plain.setenv("FPHI_NATIVE", torch._C.__file__)
    with pytest.raises(FphiError, match=r"FPHI_NATIVE: .* was compiled from other sources"):
        library()


def test_words_that_are_no_wish_are_refused(plain: pytest.MonkeyPatch) -> None:
    plain.setenv("FPHI_NATIVE", "off")
    with pytest.raises(FphiError, match="FPHI_NATIVE=off is no file; use 0 for pure PyTorch, 1 for"):
        library()


def test_a_processor_that_no_binary_is_for_is_named(plain: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "kernels-avx2.so").touch()
    plain.setattr(module, "__file__", str(tmp_path / "library.py"))
    plain.setattr(module, "_capability", lambda: "DEFAULT")
    plain.setenv("ATEN_CPU_CAPABILITY", "default")
    assert library() is None
    assert native.describe().endswith(
        "for avx2, and torch takes this processor for DEFAULT, as ATEN_CPU_CAPABILITY=default says"
    )


@pytest.mark.parametrize("length", [0, 5000])
def test_half_a_binary_is_not_loaded(length: int, tmp_path: Path, plain: pytest.MonkeyPatch) -> None:
    found = library()
    assert found is not None
    half = tmp_path / "half.so"
    half.write_bytes(Path(found._name).read_bytes()[:length])
    library.cache_clear()
    plain.setenv("FPHI_NATIVE", str(half))
    with pytest.raises(FphiError, match=r"half\.so is damaged"):
        library()


def build(place: Path, compiler: str, *arguments: str) -> None:
    """Run setup.py on a copy of the kernels."""
    if not (place / "setup.py").exists():
        shutil.copy(ROOT / "setup.py", place)
        shutil.copytree(PACKAGE / "kernels", place / "src/fphi/native/kernels")
        shutil.copy(PACKAGE / "fingerprint.py", place / "src/fphi/native")
    command = [sys.executable, "setup.py", "-q", "build_ext", *arguments]
    subprocess.run(command, check=True, cwd=place, env={**os.environ, "CXX": compiler}, capture_output=True)


def recording(folder: Path) -> str:
    """A compiler that writes down how it was called."""
    script = folder / "compiler.py"
    script.write_text(
        "import sys; from pathlib import Path; Path(sys.argv[-1]).write_text(' '.join(sys.argv))"
    )
    return f"{sys.executable} {script}"


def test_a_build_leaves_no_binary_of_before(tmp_path: Path) -> None:
    pytest.importorskip("setuptools")
    folder = tmp_path / "src/fphi/native"
    build(tmp_path, recording(tmp_path), "--inplace")
    made = sorted(folder.glob("kernels-*.so"))
    assert made
    assert all(f"-DFPHI_FINGERPRINT={fingerprint()} " in file.read_text() for file in made)
    (folder / "kernels-old.so").touch()
    build(tmp_path, recording(tmp_path), "--inplace")
    assert sorted(folder.glob("kernels*")) == [folder / "kernels", *made]
    build(tmp_path, "false", "--inplace")
    assert sorted(path.name for path in folder.iterdir()) == ["fingerprint.py", "kernels"]


def test_a_wheel_has_the_sources_of_its_binaries_alone(tmp_path: Path) -> None:
    pytest.importorskip("setuptools")
    kernels = tmp_path / "lib/fphi/native/kernels"
    kernels.mkdir(parents=True)
    (kernels / "removed_since.hpp").touch()
    build(tmp_path, recording(tmp_path), "--build-lib", "lib")
    assert {p.name for p in kernels.iterdir()} == {p.name for p in (PACKAGE / "kernels").iterdir()}
    assert list(kernels.parent.glob("kernels-*.so"))
