"""Reading folders and zips, the cache, downloads: what is refused, in one line that names the file."""

import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fphi.errors import DataError
from fphi.tasks import ClassPool, DataRow, describe, few_shot_tasks, load_folder, load_tasks
from fphi.tasks.archive import open_archive
from fphi.tasks.cache import cache_folder, cached_pool
from fphi.tasks.download import download
from tasks_helpers import labelled_pool


def png(value: int = 0, size: tuple[int, int] = (6, 6), mode: str = "L") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, value if mode == "L" else (value, 0, 255)).save(buffer, "PNG")
    return buffer.getvalue()


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


CLASSES = {f"{c}/{i}.png": png(40 * k + i) for k, c in enumerate("abcd") for i in range(3)}
WRITERS = [write_zip, write_folder]


@pytest.mark.parametrize("write", WRITERS)
def test_a_class_is_a_folder_of_images(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    extra = {"README.txt": b"no image", ".hidden/1.png": b"x", "__MACOSX/a/1.png": b"x", "a/.DS_Store": b"x"}
    pool = load_folder(write(tmp_path / "data", CLASSES | extra), size=5)
    assert pool.names == ("a", "b", "c", "d")
    assert pool.sizes.tolist() == [3, 3, 3, 3]
    assert pool.images.shape == (12, 1, 5, 5)
    assert (pool.images[:, 0, 2, 2] == [40 * k + i for k in range(4) for i in range(3)]).all()


def test_colour_images_have_three_channels_in_order(tmp_path: Path) -> None:
    path = write_folder(tmp_path, {f"{c}/1.png": png(7, mode="RGB") for c in "ab"})
    pool = load_folder(path, size=4, mode="rgb")
    assert pool.images.shape == (2, 3, 4, 4)
    assert pool.images[0, :, 0, 0].tolist() == [7, 0, 255]


def encoded(image: Image.Image, **how: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, **how)
    return buffer.getvalue()


def test_colours_that_are_dropped_are_told(tmp_path: Path) -> None:
    grey_as_colour = Image.new("RGB", (6, 6), (90, 90, 90))
    names = [f"{c}/{i}.png" for c in "abcdefghij" for i in (1, 2)]
    plain = {name: encoded(grey_as_colour, format="PNG") + name.encode() for name in names}
    red = encoded(Image.new("RGB", (6, 6), (200, 0, 0)), format="PNG")
    assert load_folder(write_folder(tmp_path / "grey", plain)).notes == ()
    path = write_folder(tmp_path / "colour", plain | {"c/2.png": red})
    note = "the images are in colour and are read in grey: --mode rgb keeps the colour"
    assert load_tasks(str(path), ways=2).notes == (note,)
    assert describe(str(path))[0].note == f"2 images per class, all decode; {note}"
    kept = load_tasks(str(path), ways=2, mode="rgb")
    assert kept.notes == ()
    assert kept.task("train", 0).support.x.shape[1:] == (3, 28, 28)


def test_photographs_stand_upright(tmp_path: Path) -> None:
    """A camera that was turned says so in the file (EXIF, tag 274); 6: to be turned by 90° clockwise."""
    image = Image.new("L", (16, 8))
    image.paste(255, (0, 0, 8, 8))  # light on the left, which is above when it is upright
    exif = Image.Exif()
    exif[274] = 6
    pool = load_folder(write_folder(tmp_path, {"a/1.png": encoded(image, format="PNG", exif=exif)}), size=4)
    assert (pool.images[0, 0, 0] == 255).all()
    assert (pool.images[0, 0, -1] == 0).all()


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
def test_what_is_transparent_is_white(tmp_path: Path, mode: str) -> None:
    """Under transparent pixels lies any colour, mostly black, in which black strokes would be lost."""
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 8, 4))
    if mode == "P":
        indexed = Image.new("P", (8, 8), 1)
        indexed.putpalette([0, 0, 0] * 2)
        indexed.paste(0, (0, 0, 8, 4))
        content = encoded(indexed, format="PNG", transparency=1)
    else:
        content = encoded(image.convert(mode), format="PNG")
    for colours in ("grey", "rgb"):
        pool = load_folder(write_folder(tmp_path, {"a/1.png": content}), size=8, mode=colours)
        assert (pool.images[0, :, :4] == 0).all()
        assert (pool.images[0, :, 4:] == 255).all()


def test_images_of_16_bits_keep_their_grey_levels(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 0x4000], [0x8000, 0xFFFF]], dtype=np.uint16))
    pool = load_folder(write_folder(tmp_path, {"a/1.png": encoded(image, format="PNG")}), size=2)
    assert pool.images[0, 0].tolist() == [[0, 64], [128, 255]]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("wrapper", ["", "download/omni/"])
def test_split_folders_of_different_classes_stay_divided(tmp_path: Path, write, wrapper: str) -> None:  # type: ignore[no-untyped-def]
    names = [f"train/{c}/{i}.png" for c in "abc" for i in (1, 2)]
    names += [f"{split}/{i}.png" for split in ("val/d", "val/e", "test/f", "test/g") for i in (1, 2)]
    path = write(tmp_path / "data", {wrapper + name: png() + name.encode() for name in names})
    tasks = load_tasks(str(path), ways=2)
    expected = {"train": ("a", "b", "c"), "validation": ("d", "e"), "test": ("f", "g")}
    assert {s: tasks.pool(s).names for s in tasks.splits} == expected  # type: ignore[attr-defined]


def test_split_folders_of_the_same_classes_are_merged_so_that_none_is_on_two_sides(tmp_path: Path) -> None:
    names = [f"{split}/{c}/{i}.png" for split in ("train", "test") for c in "abcdef" for i in (1, 2)]
    pool = load_folder(write_folder(tmp_path, {name: png() + name.encode() for name in names}))
    assert pool.names == tuple("abcdef")
    assert pool.sizes.tolist() == [4] * 6
    pools = few_shot_tasks(pool, "fraction", ways=1, shots=1)
    assert sorted(n for s in pools.splits for n in pools.pool(s).names) == list("abcdef")


@pytest.mark.parametrize("write", WRITERS)
def test_an_image_that_does_not_decode_is_named(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    for damaged in (b"not an image", png()[:40], b""):
        path = write(tmp_path / f"data{len(damaged)}", CLASSES | {"c/2.png": damaged})
        with pytest.raises(DataError, match=r"data\d+/c/2.png is not a readable image") as caught:
            load_folder(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("files", [{}, {"1.png": png()}, {"a/notes.txt": b"x"}])
def test_no_classes(tmp_path: Path, files: dict[str, bytes]) -> None:
    with pytest.raises(DataError, match="has no images in class folders"):
        load_folder(write_folder(tmp_path, files))


@pytest.mark.parametrize(
    "name", ["../a/1.png", "/etc/a/1.png", "a/../../1.png", "C:\\a\\1.png", "a\\..\\..\\1.png"]
)
def test_a_zip_with_names_outside_itself_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="has an entry outside itself"):
        load_folder(write_zip(tmp_path / "data.zip", CLASSES | {name: png()}))


def test_a_truncated_zip_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "data.zip", CLASSES)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(DataError, match=r"data\.zip is not a whole zip file"):
        load_folder(path)


def test_a_flipped_byte_in_a_zip_is_found(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "data.zip", CLASSES)
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 6] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"data\.zip/a/0\.png is damaged"):
        load_folder(path)


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing does not exist"):
        open_archive(tmp_path / "nothing")
    with pytest.raises(
        DataError,
        match="neither omniglot, hershey, sine, quadratics, digits, mnist, fonts, tables nor an existing folder",
    ):
        load_tasks(str(tmp_path / "nothing"))


def test_waves_have_no_protocol() -> None:
    with pytest.raises(DataError, match="sine waves have no protocol, but 'P-MAML' was asked for"):
        load_tasks("sine", protocol="P-MAML")


# The cache ------------------------------------------------------------------------------------------


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FPHI_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Builder:
    """Counts how often it builds."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> ClassPool:
        self.calls += 1
        return labelled_pool([2, 3], ["x", "y"]).with_rotations()


def same(a: ClassPool, b: ClassPool) -> bool:
    numbers = all(
        np.array_equal(getattr(a, n), getattr(b, n)) for n in ("images", "starts", "sizes", "turns")
    )
    return numbers and (a.names, a.groups) == (b.names, b.groups)


def test_a_pool_is_built_once_per_fingerprint(own_cache: Path) -> None:
    build = Builder()
    first, second = (cached_pool("toy", "v1", build) for _ in range(2))
    assert build.calls == 1
    assert same(first, second)
    cached_pool("toy", "v2", build)
    assert build.calls == 2
    assert len(list(own_cache.iterdir())) == 2  # no temporary file is left


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "foreign"])
def test_a_damaged_cache_is_rebuilt(own_cache: Path, damage: str) -> None:
    build = Builder()
    first = cached_pool("toy", "v1", build)
    (path,) = own_cache.iterdir()
    content = bytearray(path.read_bytes())
    content[400] ^= 0xFF
    changed = {
        "empty": b"",
        "cut": bytes(content[:300]),
        "flipped": bytes(content),
        "foreign": b"text, not an archive",
    }
    path.write_bytes(changed[damage])
    assert same(cached_pool("toy", "v1", build), first)
    assert build.calls == 2
    cached_pool("toy", "v1", build)
    assert build.calls == 2


def test_a_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("FPHI_CACHE", str(tmp_path / "file"))
    assert len(cached_pool("toy", "v1", Builder())) == 8


def test_the_cache_is_where_the_user_says_or_in_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPHI_CACHE", "/somewhere")
    assert cache_folder() == Path("/somewhere")
    monkeypatch.delenv("FPHI_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "fphi"


# Downloads, from file: addresses --------------------------------------------------------------------


def test_a_download_arrives_whole(tmp_path: Path) -> None:
    (tmp_path / "published").write_bytes(b"content")
    target = tmp_path / "new" / "copy"
    download((tmp_path / "published").as_uri(), target, hashlib.md5(b"content").hexdigest())
    assert target.read_bytes() == b"content"
    assert list(target.parent.iterdir()) == [target]


def test_a_download_with_another_checksum_is_not_kept(tmp_path: Path) -> None:
    (tmp_path / "published").write_bytes(b"changed")
    target = tmp_path / "new" / "copy"
    with pytest.raises(DataError, match=f"arrived with MD5 .* fetch it by hand to {target}"):
        download((tmp_path / "published").as_uri(), target, hashlib.md5(b"content").hexdigest())
    assert not list(target.parent.iterdir())


def test_a_failed_download_says_what_to_fetch_and_where_to_put_it(tmp_path: Path) -> None:
    url, target = (tmp_path / "absent").as_uri(), tmp_path / "new" / "copy"
    with pytest.raises(DataError, match=f"{url} could not be fetched .* by hand to {target}") as caught:
        download(url, target, "0" * 32)
    assert "\n" not in str(caught.value)
    assert not list(target.parent.iterdir())


def test_a_target_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="file/copy cannot be written"):
        download("file:///x", tmp_path / "file" / "copy", "0" * 32)


# Descriptions ---------------------------------------------------------------------------------------


def test_describe_counts_a_folder(tmp_path: Path) -> None:
    whole, rule = describe(
        str(
            write_folder(
                tmp_path, {f"{c}/{i}.png": png() + f"{c}{i}".encode() for c in "abcde" for i in (1, 2)}
            )
        )
    )
    assert whole == DataRow(str(tmp_path), str(tmp_path), 5, 10, note="2 images per class, all decode")
    assert (rule.item, rule.ok, rule.splits) == ("fraction", False, {})
    assert "2 ways" in rule.note


def test_describe_reports_damage_instead_of_raising(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "data.zip", CLASSES)
    path.write_bytes(path.read_bytes()[:-50])
    (row,) = describe(str(path))
    assert not row.ok
    assert "not a whole zip file" in row.note
