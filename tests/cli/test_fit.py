"""Where fphi fit writes, and what it does not write over."""

import os
from pathlib import Path

import pytest

from cli_helpers import fphi, quietly, refused, trained

Capture = pytest.CaptureFixture[str]


def _table(folder: Path) -> Path:
    path = folder / "own.csv"
    path.write_text("a,b,label\n" + "".join(f"{i},{i % 3},{'xy'[i > 5]}\n" for i in range(3, 10)))
    return path


def test_data_are_not_written_over(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    own = _table(tmp_path)
    content = own.read_bytes()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(own)
    for out in (own, "own.csv", "link"):
        assert "is the data itself" in refused(capsys, "fit", own, "--out", out)
    other = tmp_path / "notes.txt"
    other.write_text("mine")
    assert "no model that fphi fit wrote" in refused(capsys, "fit", own, "--out", other)
    assert (own.read_bytes(), other.read_text()) == (content, "mine")
    if not hasattr(os, "mkfifo"):  # Windows
        return
    os.mkfifo(tmp_path / "pipe")
    assert "is no ordinary file" in refused(capsys, "fit", own, "--out", "pipe")


def test_a_model_and_an_empty_file_are_written_over(tmp_path: Path, capsys: Capture) -> None:
    own, out = _table(tmp_path), tmp_path / "m.fphi"
    out.touch()
    for _ in range(2):
        quietly("fit", own, "--out", out, "--learner", "means")
    run = trained(tmp_path / "run")
    assert "no model that fphi fit wrote" in refused(capsys, "fit", own, "--out", run / "best.safetensors")


def test_the_folder_of_a_file_is_made_before_the_work(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = _table(tmp_path)
    quietly("fit", own, "--out", tmp_path / "new" / "folder" / "m.fphi", "--learner", "means")
    assert fphi("predict", tmp_path / "new" / "folder" / "m.fphi", own) == 0
    assert "cannot write" in refused(capsys, "fit", own, "--out", own / "m.fphi")
    monkeypatch.setattr("fphi.cli.export.export_onnx", lambda run, path, files: path.write_bytes(b"onnx"))
    assert fphi("export", tmp_path, "--onnx", tmp_path / "newer" / "m.onnx") == 0
