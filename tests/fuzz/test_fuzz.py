"""Random damage: whatever a file or an option holds, fphi answers with a result or with one line.

Seeded, so that every run tries the same; FPHI_FUZZ=5000 tries as many inputs of each kind, which takes an hour.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from cli_helpers import fphi, trained
from fphi.errors import FphiError
from fphi.experiment.architecture import Architecture, load_architecture
from fphi.experiment.config import Config
from fphi.report.files import read_record
from fphi.report.runs import read_log
from fphi.report.searches import read_result
from fphi.run.disk.checkpoint import read_checkpoint
from fphi.run.disk.files import read_sealed, write_sealed
from fphi.run.search.history import History
from fphi.tasks import load_folder

COUNT = int(os.environ.get("FPHI_FUZZ", "40"))
"""Inputs of each kind."""
bounded = settings(
    max_examples=COUNT, derandomize=True, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    | st.sampled_from([10**18, 10**30, 10**40, -1, 2.5, "3", "", "\x1b[2J", "$x$", "a|b", "<b>", "../..", "NaN"])
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
ARCHITECTURE = {
    "space": "nasbench201", "options": {"channels": 2, "cells": 1}, "tokens": [0] * 6, "input_shape": [1, 8, 8],
    "outputs": 3, "norm": None,
}  # fmt: skip
RESULT = {
    "data": "digits", "method": "darts", "seed": 0, "epochs": 2, "seconds": 1.0, "validation_accuracy": 0.5,
    "architecture": "a", "retrained": {"parameters": 3, "test_accuracy": 0.5}, "control": None, "retrain_epochs": 1,
}  # fmt: skip
RECORD = {
    "method": "maml", "protocol": "P", "ways": 5, "shots": 1, "tasks": 2, "seed": 0, "queries": 5,
    "accuracy": {"inductive": {"mean": 0.5, "ci95": 0.1}}, "loss": {"mean": 1.0, "ci95": None},
    "by_step": [{"step": 0, "loss": 1.0, "accuracy": 0.2}], "start": {"run": "a", "method": None, "frozen": None},
}  # fmt: skip
ASKED = {"asked": 0, "tokens": [0, 1], "parent": None}
TOLD = {"told": 0, "loss": 0.5, "seconds": 1.0, "failure": "", "measures": {"a": 1}, "standing": {}}


def places(tree: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to all values within."""
    own = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [at, *(place for key, value in own for place in places(value, (*at, key)))]


def changed(tree: Any, at: tuple[Any, ...], value: object) -> Any:
    """Another value at one place."""
    if not at:
        return value
    copied = tree.copy()
    copied[at[0]] = changed(tree[at[0]], at[1:], value)
    return copied


@st.composite
def damaged(draw: st.DrawFn, tree: Any) -> bytes:
    """JSON with other values at one or two places, or other bytes."""
    for _ in range(draw(st.integers(1, 2))):
        tree = changed(tree, draw(st.sampled_from(places(tree))), draw(VALUES))
    return draw(scratched(json.dumps(tree).encode()))


@st.composite
def scratched(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes as they are, cut, or with some of them changed."""
    kind = draw(st.sampled_from(["whole", "whole", "cut", "bytes"]))
    if kind == "cut":
        return data[: draw(st.integers(0, len(data)))]
    if kind == "bytes" and data:
        at = draw(st.integers(0, len(data) - 1))
        return data[:at] + draw(st.binary(max_size=8)) + data[at + 1 :]
    return data


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("fuzz") / "run", steps=1)


@bounded
@given(data=damaged(ARCHITECTURE))
def test_architectures(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "architecture.json").write_bytes(data)
    try:
        found = Architecture.read(tmp_path)
    except FphiError:
        return
    assert all(1 <= size <= 4096 for size in found.input_shape)
    with pytest.raises(FphiError):
        load_architecture(tmp_path)  # there are no weights


@bounded
@given(data=damaged(RESULT))
def test_results(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_bytes(data)
    try:
        result = read_result(tmp_path / "result.json")
    except FphiError:
        return
    assert 0 <= result["validation_accuracy"] <= 1


@bounded
@given(data=damaged(RECORD))
def test_records(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "5w1s.json").write_bytes(data)
    try:
        record = read_record(tmp_path / "5w1s.json")
    except FphiError:
        return
    assert all(0 <= (part["mean"] or 0) <= 1 for part in record.get("accuracy", {}).values())


@bounded
@given(asked=damaged(ASKED), told=damaged(TOLD))
def test_histories(asked: bytes, told: bytes, tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_bytes(asked + b"\n" + told + b"\n")
    try:
        History(tmp_path / "history.jsonl").close()
    except FphiError:
        return


@bounded
@given(data=scratched(b"step,train_loss,seconds\n1,0.5,1.0\n2,0.25,2.0\n"))
def test_logs(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_bytes(data)
    try:
        rows = read_log(tmp_path / "log.csv")
    except FphiError:
        return
    assert all(int(row["step"]) >= 0 for row in rows)


@bounded
@given(data=st.data())
def test_checkpoints(data: st.DataObject, whole: Path, tmp_path: Path) -> None:
    """Sealed again, since whoever makes a file can compute its checksum."""
    tensors, content = read_sealed(whole / "last.safetensors")
    at = data.draw(st.sampled_from(places(content)))
    write_sealed(tmp_path / "last.safetensors", tensors, changed(content, at, data.draw(VALUES)))
    try:
        state = read_checkpoint(tmp_path / "last.safetensors").state
    except FphiError:
        return
    assert 0 <= state.step <= 2**53


@bounded
@given(data=st.data())
def test_configurations(data: st.DataObject, whole: Path, tmp_path: Path) -> None:
    text = (whole / "config.yaml").read_bytes()
    lines = text.split(b"\n")
    at = data.draw(st.integers(0, len(lines) - 2))
    value = json.dumps(data.draw(VALUES)).encode()
    lines[at] = lines[at].split(b":")[0] + b": " + value
    (tmp_path / "config.yaml").write_bytes(data.draw(scratched(b"\n".join(lines))))
    try:
        Config.read(tmp_path)
    except FphiError:
        return


OPTIONS = (
    "--steps",
    "--inner-lr",
    "--ways",
    "--seed",
    "--max-time",
    "--meta-batch",
    "--norm",
    "--out",
    "--tasks",
)
WORDS = st.sampled_from(
    ["", "-1", "1e19", "1e300", "nan", "inf", "x" * 5000, "null", "[1", "{}", "0", "\x00"]
)


@bounded
@given(options=st.lists(st.tuples(st.sampled_from(OPTIONS), WORDS), min_size=1, max_size=3))
def test_command_lines(
    options: list[tuple[str, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each with one more option that is none, so that nothing is trained."""
    words = [word for option in options for word in option]
    assert fphi("train", "maml", "--out", tmp_path / "run", *words, "--no-such-option", "1") == 2
    errors = capsys.readouterr().err
    assert errors.startswith("fphi: error: ")
    assert (errors.count("\n"), len(errors) < 2000) == (1, True)


def picture(folder: Path) -> bytes:
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(folder / "x.png")
    return (folder / "x.png").read_bytes()


@bounded
@given(data=st.data())
def test_images_and_archives(data: st.DataObject, tmp_path: Path) -> None:
    whole = picture(tmp_path)
    folder = tmp_path / "images"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "1.png").write_bytes(data.draw(scratched(whole)))
    (folder / "a" / "2.png").write_bytes(whole)
    archive = Path(shutil.make_archive(str(tmp_path / "z"), "zip", folder))
    archive.write_bytes(data.draw(scratched(archive.read_bytes())))
    for path in (folder, archive):
        try:
            pool = load_folder(path, 8)
        except FphiError:
            continue
        assert pool.images.shape[-2:] == (8, 8)
