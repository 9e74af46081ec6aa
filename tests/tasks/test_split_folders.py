"""Folders and zips as others name and write them: which classes there are, and on which side each one is."""

import io
import os
import struct
import unicodedata
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fphi.errors import DataError
from fphi.tasks import FewShotTasks, load_folder, load_tasks
from fphi.tasks.archive import open_archive
from fphi.tasks.folder import load_split_folders


def png(value: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (8, 8), value).save(buffer, "PNG")
    return buffer.getvalue()


PNG = png()


def folder(path: Path, names: list[str]) -> Path:
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(PNG + os.fsencode(name))  # of its own content
    return path


class RawName(zipfile.ZipInfo):
    """An entry whose name is written as these bytes, without a flag that says how they are encoded."""

    raw: bytes

    def _encodeFilenameFlags(self) -> tuple[bytes, int]:  # noqa: N802
        return self.raw, self.flag_bits


def zipped(path: Path, names: list[str], encoding: str = "utf-8") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for number, name in enumerate(names):
            entry = RawName(str(number))
            entry.raw = name.encode(encoding)
            archive.writestr(entry, PNG + entry.raw)
    return path


def in_splits(*of: tuple[str, Sequence[str]], images: int = 2) -> list[str]:
    return [f"{split}/{c}/{i}.png" for split, classes in of for c in classes for i in range(images)]


# Splits -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("training", "validation", "testing"),
        ("base", "val", "novel"),
        ("Train", "Valid", "Test"),
        ("meta-train", "meta-val", "meta-test"),
        ("train_set", "dev", "test_set"),
        ("images_background", "val", "images_evaluation"),
        ("seen", "dev", "unseen"),
    ],
)
def test_splits_are_found_by_their_usual_names(
    tmp_path: Path, train: str, validation: str, test: str
) -> None:
    names = in_splits((train, "abc"), (validation, "de"), (test, "fg"))
    tasks = load_tasks(str(folder(tmp_path, names)), ways=2)
    assert isinstance(tasks, FewShotTasks)
    found = {split: "".join(tasks.pool(split).names) for split in tasks.splits}
    assert found == {"train": "abc", "validation": "de", "test": "fg"}


@pytest.mark.parametrize("top", ["base", "novel", "dev", "background"])
def test_a_name_that_a_class_may_have_is_no_split_without_the_other_side(tmp_path: Path, top: str) -> None:
    pool = load_folder(folder(tmp_path, in_splits((top, "ab"), ("birds", "ab"))))
    assert set(pool.names) == {f"{top}/a", f"{top}/b", "birds/a", "birds/b"}


@pytest.mark.parametrize(
    ("sides", "named"),
    [
        ([("train", "abc"), ("test", "cde")], "1 classes both in test and in train, such as 'c'"),
        ([("training", "abcd"), ("testing", "cde")], "2 classes both in test and in train, such as 'c'"),
        ([("base", "ab"), ("val", "cd"), ("novel", "de")], "1 classes both in test and in validation"),
        ([("train", "ab"), ("val", "bc"), ("test", "de")], "1 classes both in train and in validation"),
        ([("train", "ab"), ("val", "cd"), ("test", "cd")], "2 classes both in test and in validation"),
    ],
)
def test_a_class_on_two_sides_is_refused(tmp_path: Path, sides: list[tuple[str, str]], named: str) -> None:
    with pytest.raises(DataError, match=f"{named}.*rename or remove one of the two"):
        load_folder(folder(tmp_path, in_splits(*sides)))


def test_a_class_is_the_same_however_its_letters_are_composed(tmp_path: Path) -> None:
    composed, apart = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    sides = [("train", ["a", "b", composed]), ("test", ["c", apart])]
    names = [f"{split}/{c}/1.png" for split, classes in sides for c in classes]
    with pytest.raises(DataError, match="1 classes both in test and in train, such as 'é'"):
        load_folder(folder(tmp_path, names))


@pytest.mark.parametrize(
    "sides",
    [
        [("training", "abcdef"), ("testing", "abcdef")],
        [("train", "abcdef"), ("val", "abc"), ("test", "abcdef")],
        [("train", "abc"), ("test", "abcdef")],
    ],
)
def test_classification_data_are_divided_anew_and_that_is_told(
    tmp_path: Path, sides: list[tuple[str, str]]
) -> None:
    tasks = load_tasks(str(folder(tmp_path, in_splits(*sides))), ways=2, queries=1)
    assert isinstance(tasks, FewShotTasks)
    of = [set(tasks.pool(split).names) for split in tasks.splits]
    assert set.union(*of) == set("abcdef")
    assert sum(map(len, of)) == 6
    assert any("not taken as splits, since they share classes" in note for note in tasks.notes)


def test_splits_beside_other_folders_are_not_given_up_in_silence(tmp_path: Path) -> None:
    pool = load_folder(folder(tmp_path, in_splits(("train", "ab"), ("test", "cd"), ("more", "ef"))))
    expected = "test, train: these folders are not taken as splits, since there are others beside them"
    assert pool.notes[0].startswith(expected)


# Zips -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layout", ["{}/{}.png", "{}\\{}.png", "top/{}/{}.png", "top\\{}\\{}.png", "a b/c d/{}/{}.png"]
)
def test_a_zip_is_read_whatever_wrote_it(tmp_path: Path, layout: str) -> None:
    names = [layout.format(c, i) for c in ("x", "y") for i in range(2)]
    path = zipped(tmp_path / "x.zip", [*names, "__MACOSX/x/._0.png", "x/.DS_Store", "Thumbs.db"])
    pool = load_folder(path, 8)
    assert (pool.names, pool.sizes.tolist(), pool.notes) == (("x", "y"), [2, 2], ())


def test_folders_in_a_zip_may_have_entries_of_their_own(tmp_path: Path) -> None:
    for number, end in enumerate("/\\"):
        path = zipped(tmp_path / f"{number}.zip", [f"x{end}", f"x{end}1.png", f"y{end}", f"y{end}1.png"])
        assert load_folder(path, 8).names == ("x", "y")


@pytest.mark.parametrize("name", ["é", "日本", "ß", "Ελληνικά"])
def test_names_in_utf_8_are_read_as_such_though_no_flag_says_so(tmp_path: Path, name: str) -> None:
    assert load_folder(zipped(tmp_path / "x.zip", [f"{name}/1.png", "b/1.png"])).names == ("b", name)


@pytest.mark.parametrize(
    ("encoding", "one", "two"), [("cp932", "表", "ソ"), ("gbk", "猫", "狗"), ("cp1252", "é", "ü")]
)
def test_names_of_an_unknown_encoding_stay_distinct(
    tmp_path: Path, encoding: str, one: str, two: str
) -> None:
    """In Shift JIS the second byte of some letters is a backslash."""
    pool = load_folder(zipped(tmp_path / "x.zip", [f"{one}/1.png", f"{two}/1.png"], encoding))
    assert len(pool) == 2
    assert all("/" not in name for name in pool.names)


def test_of_two_files_of_one_name_in_a_zip_the_last_counts(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a/1.png", png(10))
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a/1.png", png(20))
    assert load_folder(tmp_path / "x.zip", 8).images.max(axis=(1, 2, 3)).tolist() == [20]


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_a_zip_by_a_method_without_bounds_is_refused(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", method) as archive:
        archive.writestr("a/1.png", PNG)
    with pytest.raises(DataError, match=r"a/1\.png is neither stored nor deflated"):
        load_folder(tmp_path / "x.zip")


def test_a_zip_of_many_files_that_unpack_to_very_much_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/0.png", bytes(2**20))
    size = struct.pack("<I", 2**20)
    path.write_bytes(path.read_bytes().replace(size, struct.pack("<I", 2**32 - 2)))
    with pytest.raises(DataError, match=r"x\.zip unpacks to 4294967294 bytes, \d+ times as many as it has"):
        open_archive(path).names()


# Links ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["/", "..", "../beside", "/dev"])
def test_a_link_out_of_the_folder_is_refused(tmp_path: Path, target: str) -> None:
    folder(tmp_path / "beside", ["x/1.png"])
    data = folder(tmp_path / "data", ["a/1.png", "b/1.png"])
    (data / "a/out").symlink_to(target if target[0] == "/" else f"../{target}", target_is_directory=True)
    with pytest.raises(DataError, match=r"a/out is a link out of the folder, to .*; put a copy there"):
        load_folder(data)


@pytest.mark.parametrize("target", ["/etc/hostname", "../../secret.png", "/nowhere/1.png"])
def test_a_file_that_is_a_link_out_of_the_folder_is_refused(tmp_path: Path, target: str) -> None:
    (tmp_path / "secret.png").write_bytes(PNG)
    data = folder(tmp_path / "data", ["a/1.png", "b/1.png"])
    (data / "a/2.png").symlink_to(target)
    with pytest.raises(DataError, match=r"a/2\.png is a link out of the folder"):
        load_folder(data)


def test_many_links_to_each_other_are_walked_once(tmp_path: Path) -> None:
    """Followed, twenty folders that link to each other are more paths than can be walked."""
    names = [f"c{i:02d}" for i in range(20)]
    data = folder(tmp_path, [f"{name}/1.png" for name in names])
    for name in names:
        for other in names:
            (data / name / other).symlink_to(f"../{other}", target_is_directory=True)
    assert load_folder(data).names == tuple(names)


def test_a_link_that_leads_to_itself_is_named(tmp_path: Path) -> None:
    data = folder(tmp_path, ["a/1.png"])
    (data / "a/2.png").symlink_to("2.png")
    with pytest.raises(DataError, match=r"a/2\.png cannot be read"):
        load_folder(data)
    with pytest.raises(DataError, match=r"a/2\.png cannot be read"):
        open_archive(data).fingerprint()


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    folder(tmp_path / "real", ["a/1.png", "b/1.png"])
    (tmp_path / "link").symlink_to("real", target_is_directory=True)
    (tmp_path / "real/a/2.png").symlink_to("../b/1.png")
    assert load_folder(tmp_path / "link").sizes.tolist() == [2, 1]


NOT_FOLLOWED = "classes are where their own folders are"


def test_splits_that_are_links_to_classes_are_told(tmp_path: Path) -> None:
    data = folder(tmp_path, [f"all/{name}/{i}.png" for name in "abcdefghi" for i in range(2)])
    before = open_archive(data).fingerprint()
    for split, name in (("train", "a"), ("val", "b"), ("test", "c")):
        (data / split).mkdir()
        (data / split / name).symlink_to(f"../all/{name}", target_is_directory=True)
    pool = load_folder(data)
    assert pool.names == tuple("abcdefghi")
    assert pool.notes == (f"3 links to folders are not followed, such as 'test/c': {NOT_FOLLOWED}",)
    tasks = load_tasks(str(data), ways=2, queries=1, splits=["train"], image_size=8)
    assert set(pool.notes) <= set(tasks.notes)
    assert open_archive(data).fingerprint() != before


def test_one_link_among_classes_is_told(tmp_path: Path) -> None:
    data = folder(tmp_path, ["a/1.png", "b/1.png"])
    (data / "c").symlink_to("a", target_is_directory=True)
    assert load_folder(data).notes == (f"1 link to a folder is not followed, such as 'c': {NOT_FOLLOWED}",)
    (data / "c").unlink()
    assert load_folder(data).notes == ()


def test_a_folder_of_links_alone_says_why_it_has_no_classes(tmp_path: Path) -> None:
    folder(tmp_path / "images", [".hidden/1.png"])
    (tmp_path / "images/a").symlink_to(".hidden", target_is_directory=True)
    with pytest.raises(
        DataError, match=r"has no images in class folders; 1 link to a folder is not followed"
    ):
        load_folder(tmp_path / "images")


def test_a_file_larger_than_any_image_is_not_read(tmp_path: Path) -> None:
    data = folder(tmp_path, ["a/1.png", "b/1.png"])
    with (data / "a/2.png").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(DataError, match=rf"a/2\.png unpacks to {2**40} bytes, which no image needs"):
        load_folder(data)


def test_bytes_that_are_no_letters_are_spelled_out(tmp_path: Path) -> None:
    for name in (b"\xff", b"\xfe"):
        os.mkdir(os.path.join(os.fsencode(tmp_path), name))
        with open(os.path.join(os.fsencode(tmp_path), name, b"1.png"), "wb") as file:
            file.write(PNG)
    assert load_folder(tmp_path).names == ("\\udcfe", "\\udcff")


@pytest.mark.parametrize(
    ("one", "other"), [("Dog", "dog"), ("red fox", "Red  Fox"), ("STRASSE", "straße"), ("cat", "cat ")]
)
def test_names_on_two_sides_that_differ_in_capitals_or_spaces_are_of_one_class(
    tmp_path: Path, one: str, other: str
) -> None:
    names = in_splits(("train", ["a", "b", one]), ("test", ["c", "d", other]))
    with pytest.raises(
        DataError, match=r"in test and .* in train: a class is in one split only|in train and"
    ):
        load_folder(folder(tmp_path, names))


@pytest.mark.parametrize("flag", [0x1, 0x801])
def test_an_encrypted_file_is_called_so(tmp_path: Path, flag: int) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/1.png", PNG)
    content = bytearray(path.read_bytes())
    for sign, place in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        at = content.index(sign) + place
        content[at : at + 2] = struct.pack("<H", flag)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a/1\.png is encrypted; zip it without a password"):
        load_folder(path)


def test_images_to_test_on_are_scaled_as_those_of_training(tmp_path: Path) -> None:
    """By their own largest value, darker ones would be as bright as what was trained on."""
    for split, top in (("train", 1000), ("validation", 800), ("test", 500), ("test", 2000)):
        (tmp_path / split / "a").mkdir(parents=True, exist_ok=True)
        values = np.full((8, 8), top, np.float32)
        Image.fromarray(values).save(tmp_path / split / f"a/{top}.tif")
    pools = load_split_folders(tmp_path, 8)
    levels = {split: sorted(pool.images[:, 0, 0, 0].tolist()) for split, pool in pools.items()}
    assert levels == {"test": [128, 255], "train": [255], "validation": [204]}
