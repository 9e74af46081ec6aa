"""Data that are missing, damaged or made to do harm are refused by name, before a run begins."""

import io
import os
import re
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import pytest

from cli_helpers import SMALL, contents, fphi, refused, save_images, the_error
from fphi.tasks import load_folder

Capture = pytest.CaptureFixture[str]


def test_a_class_with_too_few_images_is_named(tmp_path: Path, capsys: Capture) -> None:
    images, out = save_images(tmp_path / "images", classes=12, images=2), tmp_path / "run"
    words = ("train", "maml", "--tasks", images, "--out", out, *SMALL)
    assert re.match(
        r"9 ways from split 'train': there are only 8 classes; ask for", refused(capsys, *words, "--ways", 9)
    )
    (images / "c03" / "1.png").unlink()
    expected = r"class 'c03' of split '\w+' has 1 image, but 1 shot \+ 1 query need 2: ask for"
    assert re.match(expected, refused(capsys, *words, "--ways", 2))
    assert not out.exists()


@pytest.mark.parametrize("whole", [True, False])
def test_an_image_that_does_not_decode_is_named(whole: bool, tmp_path: Path, capsys: Capture) -> None:
    images = save_images(tmp_path / "images", classes=8, images=2)
    broken = images / "c03" / "1.png"
    broken.write_bytes(b"no image" if whole else broken.read_bytes()[:300])
    message = refused(
        capsys, "train", "maml", "--tasks", images, "--ways", 2, "--out", tmp_path / "run", *SMALL
    )
    assert message.startswith(f"{broken} is not a readable image (")
    assert message.endswith("; replace or remove it")
    assert " at 0x" not in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("entry", ["../c00/x.png", "/etc/x.png", "a/../../x.png", "..\\x.png", "C:\\x.png"])
def test_a_zip_that_names_files_outside_itself_is_refused_whole(
    entry: str, tmp_path: Path, capsys: Capture
) -> None:
    images = save_images(tmp_path / "images", classes=8, images=2)
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for path in images.rglob("*.png"):
            archive.write(path, path.relative_to(images))
        archive.writestr(entry, (images / "c00" / "0.png").read_bytes())
    words = ("--tasks", tmp_path / "images.zip", "--ways", 2, "--out", tmp_path / "run", *SMALL)
    assert f"has an entry outside itself, {entry!r}" in refused(capsys, "train", "maml", *words)
    assert not (tmp_path / "run").exists()


def test_a_name_from_a_file_does_not_steer_the_terminal(tmp_path: Path, capsys: Capture) -> None:
    images = save_images(tmp_path / "images", classes=3, images=2)
    (images / "c00" / "\x1b[2J.png").write_bytes(b"no image")
    message = refused(capsys, "train", "maml", "--tasks", images, "--ways", 2, "--out", tmp_path / "run")
    assert "c00/\\x1b[2J.png is not a readable image" in message
    assert fphi("data", images) == 2
    assert "\x1b[2J" not in capsys.readouterr().out


def test_a_zip_that_unpacks_to_more_than_the_memory_holds_is_refused(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("c00/0.png", "w") as entry:
        for _ in range(300):
            entry.write(bytes(2**20))
    message = refused(capsys, "train", "maml", "--tasks", path, "--out", tmp_path / "run")
    assert message == f"{path}/c00/0.png unpacks to {300 * 2**20} bytes, which no image needs; remove it"


def test_a_pipe_among_the_images_is_not_waited_for(tmp_path: Path, capsys: Capture) -> None:
    images = save_images(tmp_path / "images", classes=3, images=2)
    os.mkfifo(images / "c00" / "9.png")
    message = refused(capsys, "train", "maml", "--tasks", images, "--out", tmp_path / "run")
    assert message == f"{images / 'c00' / '9.png'} is no file; remove it"


def test_a_folder_that_links_lead_to_is_found_once_where_it_is(tmp_path: Path) -> None:
    images = save_images(tmp_path / "images", classes=3, images=2)
    (images / "c00" / "up").symlink_to(images, target_is_directory=True)
    (images / "c01" / "there").symlink_to(images / "c02", target_is_directory=True)
    (images / "c02" / "back").symlink_to(images / "c01", target_is_directory=True)
    assert load_folder(images).names == ("c00", "c01", "c02")


def test_omniglot_that_is_missing_and_cannot_be_fetched(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(url: str, timeout: float) -> io.BytesIO:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    monkeypatch.setenv("FPHI_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FPHI_DATA", raising=False)
    data, out = tmp_path / "data", tmp_path / "run"
    message = refused(
        capsys, "train", "maml", "--tasks", "omniglot", "--data-root", data, "--out", out, *SMALL
    )
    assert re.match(
        r"https://\S+/images_background.zip could not be fetched \(.*no network.*\); fetch it", message
    )
    by_hand = f"by hand to {data / 'omniglot' / 'images_background.zip'}, or name the folder that has it"
    assert message.endswith(f"{by_hand} by --data-root or FPHI_DATA")
    assert not out.exists()
    assert contents(tmp_path) == {}


def test_a_data_source_that_cannot_be_used_is_an_error_after_the_table(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FPHI_CACHE", str(tmp_path / "cache"))
    assert fphi("data", "omniglot", "--data-root", tmp_path) == 2
    message = the_error(capsys.readouterr().err)
    assert message.startswith("omniglot cannot be used: not found")
    assert f"images_evaluation.zip into {tmp_path / 'omniglot'}" in message
