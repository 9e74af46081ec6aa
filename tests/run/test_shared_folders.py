"""On a machine with other users: names that cannot be guessed, links that are not followed."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fphi.errors import FphiError
from fphi.run.disk.directory import claim
from fphi.run.disk.files import replace_file, write_sealed, write_text
from fphi.run.disk.temporary import file_beside, open_to_append
from fphi.run.meta.logs import CsvLog
from fphi.run.search.history import History

WRITERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "data": ("data", lambda path: replace_file(path, b"mine")),
    "text": ("config.yaml", lambda path: write_text(path, "mine")),
    "weights": ("last.safetensors", lambda path: write_sealed(path, {"x": torch.zeros(1)}, None)),
    "log": ("log.csv", lambda path: CsvLog(path).close()),
    "history": ("history.jsonl", lambda path: History(path).close()),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_no_link_that_a_stranger_laid_is_followed(writer: str, tmp_path: Path) -> None:
    name, write = WRITERS[writer]
    theirs = tmp_path / "theirs"
    theirs.write_bytes(b"theirs")
    folder = tmp_path / "run"
    folder.mkdir()
    for guessed in (name, f"{name}.tmp", f".{name}.tmp", f"{name}.part", f"{name}~", "tmp"):
        (folder / guessed).symlink_to(theirs)
    write(folder / name)
    assert theirs.read_bytes() == b"theirs"
    assert not (folder / name).is_symlink()


@pytest.mark.parametrize("kind", ["link", "dangling", "pipe"])
def test_a_lock_is_a_file_of_its_own(kind: str, tmp_path: Path) -> None:
    theirs, lock = tmp_path / "theirs", tmp_path / "run" / ".lock"
    lock.parent.mkdir()
    if kind == "pipe":
        os.mkfifo(lock)
    else:
        lock.symlink_to(theirs)
    if kind == "link":
        theirs.write_bytes(b"theirs")
    with pytest.raises(FphiError, match="cannot write"), claim(tmp_path / "run", resume=False):
        pass
    assert not theirs.exists() or theirs.read_bytes() == b"theirs"


def test_a_lock_does_not_empty_what_is_there(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_bytes(b"notes")
    with claim(tmp_path, resume=False):
        pass
    assert (tmp_path / ".lock").read_bytes() == b"notes"


def test_no_two_names_are_the_same(tmp_path: Path) -> None:
    with file_beside(tmp_path / "a") as (_, one), file_beside(tmp_path / "a") as (_, other):
        assert one != other
        assert len(one.name) == len(".fphi-.tmp") + 32
        assert one.exists()  # the second did not take the first, which is open, for a leftover
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_is_cleared_away(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from fphi.run.disk.temporary import file_beside\n"
        "with file_beside(Path(sys.argv[1])) as (file, _):\n"
        "    file.write(b'x' * 100); file.flush(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "a")], check=False)
    (left,) = tmp_path.iterdir()
    assert left.stat().st_size == 100
    replace_file(tmp_path / "b", b"b")
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_nothing_else_is_taken_for_a_leftover(tmp_path: Path) -> None:
    names = [".fphi-0.tmp", "x.tmp", f".fphi-{'g' * 32}.tmp", f"fphi-{'0' * 32}.tmp"]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    (tmp_path / f".fphi-{'0' * 32}.tmp").symlink_to(tmp_path / "x.tmp")
    os.mkfifo(tmp_path / f".fphi-{'1' * 32}.tmp")
    replace_file(tmp_path / "b", b"b")
    assert len(list(tmp_path.iterdir())) == len(names) + 3


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError(), OSError(errno.ENOSPC, "full")])
def test_a_write_that_breaks_off_leaves_the_old_file_and_no_other(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_file(tmp_path / "a", b"old")

    def fail(handle: int) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises((KeyboardInterrupt, MemoryError, FphiError)):
        replace_file(tmp_path / "a", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_what_is_appended_to_is_no_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    with pytest.raises(OSError, match="symbolic links"):
        open_to_append(tmp_path / "link")
    assert not (tmp_path / "theirs").exists()


def test_others_may_read_what_the_umask_lets_them(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        replace_file(tmp_path / "a", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


def fail_in(out: Path, resume: bool, begun: bool, error: BaseException) -> None:
    with claim(out, resume, begun=lambda: begun):
        (out / "config.yaml").write_text("bad: 1")
        raise error


@pytest.mark.parametrize("begun", [True, False])
def test_what_is_refused_before_its_first_step_claims_no_folder(begun: bool, tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(FphiError, match="no"):
        fail_in(tmp_path, False, begun, FphiError("no"))
    assert (tmp_path / "config.yaml").exists() == begun
    assert (tmp_path / "notes").read_text() == "mine"


@pytest.mark.parametrize("error", [FphiError("no"), KeyboardInterrupt()])
def test_a_run_that_goes_on_keeps_its_files_whatever_happens(error: BaseException, tmp_path: Path) -> None:
    (tmp_path / "last.safetensors").write_bytes(b"")
    with pytest.raises((FphiError, KeyboardInterrupt)):
        fail_in(tmp_path, True, False, error)
    assert (tmp_path / "config.yaml").exists()


@pytest.mark.parametrize("name", ["\0", "a\0b", "run\0/file"])
def test_a_path_that_no_system_has_is_refused_by_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(FphiError, match=r"x00.*' holds a character that no path has; choose another name$"):
        write_text(tmp_path / name, "text")
    assert not list(tmp_path.iterdir())
