"""Compiles the native kernels, where a C++ compiler is at hand; all else is in pyproject.toml.

An installation without one succeeds, says so, and fphi computes the same in PyTorch. ``CXX`` names
another compiler.
"""

import os
import platform
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

PACKAGE = Path("src/fphi/native")
FLAGS = ["-O3", "-std=c++17", "-shared", "-fPIC", "-pthread", "-s"]
FLAGS += ["-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math"]
# By kind of machine: each binary, and what its processor must have. The best that runs is chosen at run time.
VARIANTS = {
    "x86_64": {
        "avx2": ["-mavx2", "-mfma"],
        "avx512": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma"],
    },
    "aarch64": {"neon": []},
}
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


class BuildKernels(build_ext):
    """The kernels are no extension module of Python: one binary serves every version of it and of torch."""

    def run(self) -> None:
        folder = self.folder()
        folder.mkdir(parents=True, exist_ok=True)
        if not self.inplace:  # the sources as they are now, and none that an earlier build left here
            shutil.rmtree(folder / "kernels", ignore_errors=True)
            shutil.copytree(PACKAGE / "kernels", folder / "kernels")
        with TemporaryDirectory(dir=folder) as place:
            compiled = self.compiled(Path(place))
            new = {file.replace(folder / file.name) for file in compiled}
        for old in set(folder.glob("kernels-*.so")) - new:
            old.unlink()

    def compiled(self, place: Path) -> list[Path]:
        """The binaries for this machine, all of them or none."""
        machine = MACHINES.get(platform.machine().lower(), platform.machine().lower())
        compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
        sources = runpy.run_path(str(PACKAGE / "fingerprint.py"))["fingerprint"]()
        files = []
        for variant, flags in VARIANTS.get(machine, {}).items():
            if compiler is None:
                return self.give_up("no C++ compiler was found")
            files.append(place / f"kernels-{variant}.so")
            command = [*compiler.split(), *FLAGS, *flags, f"-DFPHI_FINGERPRINT={sources}"]
            command += [str(PACKAGE / "kernels/fphi.cpp"), "-o", str(files[-1])]
            try:
                subprocess.run(command, check=True)
            except (OSError, subprocess.CalledProcessError) as error:
                return self.give_up(str(error))
        return files

    def folder(self) -> Path:
        return PACKAGE if self.inplace else Path(self.build_lib) / "fphi" / "native"

    def give_up(self, reason: str) -> list[Path]:
        print(f"fphi: no native kernels ({reason}); it runs in pure PyTorch, more slowly", file=sys.stderr)
        return []

    def get_outputs(self) -> list[str]:
        return [str(path) for path in self.folder().glob("kernels-*.so")]

    def get_output_mapping(self) -> dict[str, str]:
        return {}


class AnyPython(bdist_wheel):
    """One wheel for a platform serves every version of Python 3."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


setup(
    ext_modules=[Extension("fphi.native.kernels", [str(PACKAGE / "kernels/fphi.cpp")], optional=True)],
    cmdclass={"build_ext": BuildKernels, "bdist_wheel": AnyPython},
)
