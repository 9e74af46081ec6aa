"""Files of the same content: copies and links in a class count once, and equal files elsewhere are told."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from few_shot_helpers import sound_folder
from fphi.few_shot.own_data import fit_data
from fphi.tasks import load_folder
from fphi.tasks.archive import Archive, open_archive
from fphi.tasks.folder import class_files, image_files, load_split_folders
from fphi.tasks.supervised import load_supervised


def _noise(folder: Path, names: list[str]) -> Path:
    """Images as large as each other, of different content."""
    rng = np.random.default_rng(0)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8)).save(folder / name)
    return folder


def _zipped(folder: Path) -> Path:
    return Path(shutil.make_archive(str(folder), "zip", folder))


def test_a_copy_or_a_link_in_a_class_counts_once(tmp_path: Path) -> None:
    folder = _noise(tmp_path / "data", [f"{c}/{i}.bmp" for c in "ab" for i in range(3)])
    shutil.copy(folder / "a/0.bmp", folder / "a/copy.bmp")
    (folder / "b/link.bmp").symlink_to("1.bmp")
    note = "2 files are left out, since another of the class is the same, such as 'a/copy.bmp' and 'a/0.bmp'"
    for path in (folder, _zipped(folder)):
        assert class_files(path).notes == (note,)
        (split,) = load_split_folders(path, 8).values()
        assert (split.sizes.tolist(), split.notes) == ([3, 3], (note,))
        assert image_files(path) == {"": [f"{c}/{i}.bmp" for c in "ab" for i in range(3)]}
    assert load_folder(folder, 8).sizes.tolist() == [4, 4]  # of classes to make tasks of


def test_copies_are_in_one_half_of_a_split_alone(tmp_path: Path) -> None:
    """Of pure noise no held-out answer is better than chance, and ten copies of each would all be right."""
    folder = _noise(tmp_path / "data", [f"{c}/{i}.png" for c in "ab" for i in range(5)])
    for path in sorted(folder.rglob("*.png")):
        for i in range(9):
            shutil.copy(path, path.with_name(f"{path.stem} {i}.png"))
    fitted = fit_data(folder, learner="means")
    assert len(fitted.model.fitted_.labels) == 10
    assert any(note.startswith("90 files are left out") for note in fitted.notes)
    data = load_supervised(str(folder), image_size=8)
    assert len(data.train.y) + len(data.validation.y) + len(data.test.y) == 10


def test_equal_files_of_two_classes_are_told_by_one_pair(tmp_path: Path) -> None:
    folder = _noise(tmp_path / "data", [f"{c}/{i}.png" for c in "abc" for i in range(2)])
    shutil.copy(folder / "a/1.png", folder / "c/9.png")
    (pool,) = load_split_folders(folder, 8).values()
    assert pool.sizes.tolist() == [2, 2, 3]
    assert pool.notes == (
        "1 file is the same as one of another class, such as 'c/9.png' and 'a/1.png'; only one can be right",
    )


def test_equal_files_to_train_and_to_test_on_are_told(tmp_path: Path) -> None:
    folder = _noise(
        tmp_path / "data", [f"{s}/{c}/{i}.png" for s in ("train", "test") for c in "ab" for i in range(2)]
    )
    shutil.copy(folder / "train/a/1.png", folder / "test/a/5.png")
    notes = fit_data(folder, learner="means").notes
    assert (
        "1 file is the same as one of another split, such as 'train/a/1.png' and 'test/a/5.png'; what was "
        "learned is no test"
    ) in notes


def test_a_recording_twice_is_one_example(tmp_path: Path) -> None:
    folder = sound_folder(tmp_path / "data", each=3)
    shutil.copy(folder / "kind 0/0-0.wav", folder / "kind 0/again.wav")
    (pool,) = load_split_folders(folder, 16).values()
    assert pool.sizes.tolist() == [3, 3, 3]


def test_only_files_of_the_same_size_are_read_to_be_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in (("a", b"1"), ("b", b"22"), ("c", b"23"), ("d", b"22")):
        (tmp_path / name).write_bytes(content)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as zipped:
        for name in "abcd":
            zipped.write(tmp_path / name, name)
    read: list[str] = []
    content_of = Archive.read

    def seen(archive: Archive, name: str) -> bytes:
        read.append(name)
        return content_of(archive, name)

    monkeypatch.setattr(Archive, "read", seen)
    for path in (tmp_path, tmp_path / "x.zip"):
        assert open_archive(path).equal("abcd") == [["b", "d"]]
    assert read == list("bcd") * 2
