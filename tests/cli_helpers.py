"""What the tests of the command line share: tiny runs, and how an error has to look."""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fphi.cli.main import main

TINY = (
    *("--meta-batch", "2", "--validation-tasks", "2", "--validate-every", "2", "--log-every", "1"),
    *("--threads", "1"),
)
SMALL = (*TINY, "--network", "conv4-stride")  # for images


def fphi(*words: object) -> int:
    """Run a command in this process; the exit status."""
    return main([str(word) for word in words])


def quietly(*words: object) -> None:
    """Run a command that must succeed, without its output."""
    errors = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
        assert fphi(*words) == 0, errors.getvalue()


def trained(out: Path, *words: object, method: str = "maml", steps: int = 3) -> Path:
    """A tiny run on the embedded characters."""
    quietly("train", method, "--out", out, "--steps", steps, *SMALL, *words)
    return out


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line that a command says when it refuses; it exits with 2 and prints nothing else."""
    capsys.readouterr()
    assert fphi(*words) == 2
    output, errors = capsys.readouterr()
    assert output == ""
    return the_error(errors)


def the_error(errors: str) -> str:
    """What stands behind ``fphi: error: `` in an output of one line."""
    assert errors.startswith("fphi: error: "), errors
    assert errors.endswith("\n"), errors
    assert errors.count("\n") == 1, errors
    return errors.removeprefix("fphi: error: ").rstrip("\n")


def evaluated(capsys: pytest.CaptureFixture[str], run: Path, *words: object) -> dict[str, Any]:
    """The one JSON object that ``fphi evaluate --json`` prints."""
    capsys.readouterr()
    assert fphi("evaluate", run, "--json", *words) == 0
    output, errors = capsys.readouterr()
    assert (output.count("\n"), errors) == (1, "")
    result: dict[str, Any] = json.loads(output, parse_constant=pytest.fail)
    return result


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def save_images(folder: Path, classes: int, images: int, size: int = 28) -> Path:
    """A folder of noise images, one folder per class."""
    noise = np.random.default_rng(0)
    for c in range(classes):
        (folder / f"c{c:02d}").mkdir(parents=True)
        for i in range(images):
            pixels = noise.integers(0, 256, (size, size), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"c{c:02d}" / f"{i}.png")
    return folder


def command(*words: object) -> list[str]:
    """The command line of a process of its own, through the installed script."""
    script = shutil.which("fphi", path=str(Path(sys.executable).parent))
    assert script, "fphi is not installed beside this Python"
    return [sys.executable, script, *map(str, words)]


def environment() -> dict[str, str]:
    """Without what a launcher of several processes may have left, and with one thread per process."""
    inherited = {k: v for k, v in os.environ.items() if k not in ("RANK", "LOCAL_RANK", "WORLD_SIZE")}
    return inherited | {"OMP_NUM_THREADS": "1"}


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own that is soon full; the test is skipped where it may not be mounted."""
    folder.mkdir()
    try:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this user may not mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
