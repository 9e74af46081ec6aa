"""Random damage: whatever a file holds, it is read as what it says, or refused in one line.

Seeded, so that every run tries the same; FPHI_FUZZ=5000 tries as many inputs of each kind. ``with_atheris.py``
goes on where the code that was reached says.
"""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cli_helpers import SMALL, fphi, quietly, trained
from file_formats import FORMATS, whole
from fphi.run.disk.files import read_sealed, write_sealed
from fuzzing import VALUES, changed, damaged, inputs, places, scratched, tally, tried


@st.composite
def content(draw: st.DrawFn, name: str, made: bytes) -> bytes:
    """Of a file of JSON with other values, of every other with other bytes at some places."""
    if trees := FORMATS[name].tree:
        return b"\n".join([*(draw(damaged(tree)) for tree in trees), b""])
    for _ in range(draw(st.integers(1, 3))):
        made = draw(scratched(made))
    return made


@pytest.mark.parametrize("name", FORMATS)
def test_a_whole_file_is_read(name: str, tmp_path: Path) -> None:
    if name not in ("macro table", "201 table"):  # a whole one has thousands of lines
        FORMATS[name].read(written(name, tmp_path, whole(name, tmp_path)))


@pytest.mark.parametrize("name", FORMATS)
@inputs(25)
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused(name: str, data: st.DataObject, tmp_path: Path) -> None:
    path = written(name, tmp_path, data.draw(content(name, whole(name, tmp_path))))
    with tried(f"files: {name}"):
        FORMATS[name].read(path)


def written(name: str, folder: Path, content: bytes) -> Path:
    path = folder / FORMATS[name].name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("fuzz") / "run", "--ways", 2, "--queries", 1, steps=1)


TENSORS = {
    "nan": lambda t: t * math.nan,
    "huge": lambda t: t + 1e38,
    "flat": lambda t: t.flatten()[:1],
    "empty": lambda t: t[:0] if t.ndim else t,
    "whole": lambda t: t.long(),
    "double": lambda t: t.double(),
    "negative": lambda t: -t - 1,
    "complex": lambda t: t.to(torch.complex64),
}


@inputs(15)
@given(data=st.data())
def test_a_checkpoint_of_anything_is_resumed_or_refused(
    data: st.DataObject, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sealed again, since whoever makes a file can compute its checksum."""
    out = tmp_path / "run"
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(run, out)
    tensors, content = read_sealed(out / "last.safetensors")
    if data.draw(st.booleans()):
        at = data.draw(st.sampled_from([place for place in places(content) if place]))
        content = changed(content, at, data.draw(VALUES))
    else:
        name = data.draw(st.sampled_from(sorted(tensors)))
        tensors[name] = TENSORS[data.draw(st.sampled_from(sorted(TENSORS)))](tensors[name])
    write_sealed(out / "last.safetensors", tensors, content)
    log = (out / "log.csv").read_bytes()
    with tried("files: resumed checkpoints"):
        status = fphi("train", "maml", "--out", out, "--resume", "--steps", 2, *SMALL)
        output, errors = capsys.readouterr()
        if status == 2:
            tally["files: resumed checkpoints, refused"] += 1
            assert (out / "log.csv").read_bytes().startswith(log)
            assert errors.splitlines()[-1].startswith("fphi: error: ")
            return
        assert status == 0
        assert fphi("evaluate", out, "--test-tasks", 2, "--json") == 0
        record = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
        assert record["loss"]["mean"] is not None
    assert output
    quietly("evaluate", out, "--test-tasks", 2)
