"""Few bytes that claim much: files, pixels and images without end are refused before they cost memory or time."""

import io
import struct
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from fphi.errors import DataError
from fphi.tasks import load_folder
from fphi.tasks.archive import open_archive

LOCAL, ENTRY, END = b"PK\3\4", b"PK\1\2", b"PK\5\6"


def png(size: tuple[int, int] = (4, 4)) -> bytes:
    buffer = io.BytesIO()
    Image.new("1", size).save(buffer, "PNG")
    return buffer.getvalue()


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content + name.encode())  # each of its own content
    return path


@pytest.mark.parametrize("size", [2**25 + 1, 2**31, 2**32 - 2])
def test_a_zip_of_more_files_than_memory_holds_is_refused_unread(tmp_path: Path, size: int) -> None:
    """The end of a zip says how long its list of files is; that it is there costs nothing in a sparse file."""
    path = tmp_path / "many.zip"
    with path.open("wb") as file:
        file.truncate(size)
        file.seek(size)
        file.write(struct.pack("<4s4H2IH", END, 0, 0, 1, 1, size, 0, 0))
    message = rf"many\.zip has a list of its files of {size} bytes, and at most {2**25} are read; give its"
    with pytest.raises(DataError, match=message):
        open_archive(path).names()


@pytest.mark.parametrize("size", [2**26, 2**40])
def test_neither_does_a_zip_of_64_bits_hold_more(tmp_path: Path, size: int) -> None:
    path = tmp_path / "many.zip"
    with path.open("wb") as file:
        file.truncate(size)
        file.seek(size)
        file.write(struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, size, 0))
        file.write(struct.pack("<4sIQI", b"PK\6\7", 0, size, 1))
        file.write(struct.pack("<4s4H2IH", END, 0, 0, 1, 1, 46, 0, 0))
    with pytest.raises(DataError, match=f"has a list of its files of {size} bytes"):
        open_archive(path).names()


@pytest.mark.parametrize("count", [2, 10, 1000])
def test_files_of_a_zip_that_share_their_bytes_are_refused(tmp_path: Path, count: int) -> None:
    path = zipped(tmp_path / "x.zip", {"a/0000.png": png()})
    content = path.read_bytes()
    start, end = content.index(ENTRY), content.index(END)
    entries = [content[start:end].replace(b"0000", b"%04d" % i) for i in range(count)]
    listed = b"".join(entries)
    tail = struct.pack("<4s4H2IH", END, 0, 0, count, count, len(listed), start, 0)
    path.write_bytes(content[:start] + listed + tail)
    with pytest.raises(DataError, match=r"x\.zip has 'a/0000\.png' and 'a/0001\.png' in the same place"):
        load_folder(path)


def test_files_of_a_zip_that_overlap_are_refused(tmp_path: Path) -> None:
    """The first of them holds the second, as in the zips that unpack to a million times their size."""
    path = zipped(tmp_path / "x.zip", {"a/0.png": png(), "a/1.png": png()})
    content = bytearray(path.read_bytes())
    first = content.index(ENTRY)
    content[first + 20 : first + 24] = struct.pack("<I", first - 40)
    path.write_bytes(content)
    with pytest.raises(DataError, match="in the same place; zip them anew"):
        open_archive(path).names()


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_more_pixels_than_so_few_bytes_can_mean_are_refused(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fphi.tasks.image._MOST_IN_ALL", 10**6)
    files = {f"a/{i}.png": png((1000, 400)) for i in range(4)}
    path = zipped(tmp_path / "x.zip", files)
    if kind == "folder":
        path = tmp_path / "x"
        zipfile.ZipFile(tmp_path / "x.zip").extractall(path)
    with pytest.raises(DataError, match=r"up to .*a/2\.png the images have 1200000 pixels"):
        load_folder(path)


@pytest.mark.parametrize(("mode", "bytes_"), [("grey", 2 * 1024**2), ("rgb", 3 * 1024**2)])
def test_images_grow_no_further_than_their_data_can_mean(
    tmp_path: Path, mode: str, bytes_: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fphi.tasks.image._MOST_IN_ALL", 2 * 10**6)
    path = zipped(tmp_path / "x.zip", {f"a/{i}.png": png() for i in range(4)})
    with pytest.raises(DataError, match=rf"and {bytes_} at --image-size 1024; .* or a smaller size"):
        load_folder(path, 1024, mode)  # type: ignore[arg-type]
    assert load_folder(path, 256).sizes.tolist() == [4]


def test_many_pixels_of_many_bytes_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fphi.tasks.image._MOST_IN_ALL", 100)
    (tmp_path / "a").mkdir()
    Image.effect_noise((64, 64), 50).save(tmp_path / "a/1.png")
    assert load_folder(tmp_path).sizes.tolist() == [1]
