"""Images of every mode, format and turn, in folders and archives of every shape: right, or refused in one line."""

import io
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from fphi.tasks import load_folder, load_tasks
from fuzzing import inputs, scratched, tried

MODES = (
    "1",
    "L",
    "P",
    "RGB",
    "RGBA",
    "LA",
    "PA",
    "CMYK",
    "YCbCr",
    "LAB",
    "HSV",
    "I",
    "F",
    "I;16",
    "I;16B",
    "La",
    "RGBa",
)
KINDS = {
    "PNG": "png",
    "JPEG": "jpg",
    "BMP": "bmp",
    "GIF": "gif",
    "WEBP": "webp",
    "TIFF": "tif",
    "PPM": "ppm",
    "DIB": "dib",
}
TURNS = {1: 0, 3: 2, 6: 3, 8: 1}  # EXIF's without a mirror, as quarter turns counter-clockwise


def of_mode(levels: Any, mode: str) -> Image.Image:
    """An image of these grey levels [H, W] in a mode."""
    grey = Image.fromarray(levels)
    if mode in ("I;16", "I;16B"):
        return Image.frombytes(
            mode, grey.size, (levels.astype(">u2" if mode[-1] == "B" else "<u2") * 257).tobytes()
        )
    if mode in ("I", "F"):
        return Image.fromarray(levels.astype(np.int32) * 257 if mode == "I" else levels.astype(np.float32))
    if mode == "PA":
        return grey.convert("P").convert("PA")
    if mode in ("La", "RGBa"):
        return grey.convert({"La": "LA", "RGBa": "RGBA"}[mode]).convert(mode)
    return (
        grey.convert("RGB").convert(mode) if mode in ("HSV", "LAB", "CMYK", "YCbCr") else grey.convert(mode)
    )


@st.composite
def encoded(draw: st.DrawFn, levels: Any) -> tuple[str, bytes, int]:
    """An image in a format that takes its mode: ending, content, quarter turns."""
    mode, kind = draw(st.sampled_from(MODES)), draw(st.sampled_from(sorted(KINDS)))
    turn = draw(st.sampled_from(sorted(TURNS))) if kind in ("PNG", "JPEG", "WEBP", "TIFF") else 1
    exif = Image.Exif()
    if turn > 1:
        exif[274] = turn
    how: dict[str, Any] = {"exif": exif} if turn > 1 else {}
    how |= {"lossless": True} if kind == "WEBP" else {"quality": 100} if kind == "JPEG" else {}
    buffer = io.BytesIO()
    try:
        of_mode(levels, mode).save(buffer, kind, **how)
    except (OSError, ValueError, KeyError):  # no such mode in this format, or no such conversion
        assume(False)
    ending = draw(st.sampled_from([KINDS[kind], KINDS[kind].upper(), "png", "tiff"]))
    return ending, buffer.getvalue(), TURNS[turn]


@inputs(60)
@given(data=st.data(), light=st.sampled_from([0, 255]))
def test_an_image_looks_as_it_was_drawn(data: st.DataObject, light: int) -> None:
    """Its upper left quarter is light or dark, the rest the other, whatever keeps it."""
    levels = np.full((16, 16), 255 - light, np.uint8)
    levels[:8, :8] = light
    ending, content, turns = data.draw(encoded(levels))
    with tempfile.TemporaryDirectory() as place, tried("images: drawn"):
        path = Path(place) / "a" / f"1.{ending}"
        path.parent.mkdir()
        path.write_bytes(content)
        for mode in ("grey", "rgb"):
            pool = load_folder(place, 16, mode)
            expected = np.rot90(levels, turns)
            assert np.abs(pool.images[0].astype(int) - expected[None].astype(int)).max() <= 12


@inputs(40)
@given(data=st.data())
def test_a_damaged_image_is_read_or_refused(data: st.DataObject) -> None:
    _, content, _ = data.draw(encoded(np.arange(256, dtype=np.uint8).reshape(16, 16)))
    for _ in range(data.draw(st.integers(1, 3))):
        content = data.draw(scratched(content))
    with tempfile.TemporaryDirectory() as place, tried("images: damaged"):
        (Path(place) / "a").mkdir()
        (Path(place) / "a" / "1.png").write_bytes(content)
        assert load_folder(place, 4).images.shape == (1, 1, 4, 4)


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (4, 4), value).save(buffer, "PNG")
    return buffer.getvalue()


PARTS = st.sampled_from(
    ["a", "b", "c", "A", "train", "test", "val", "training", "base", "novel", "..", ".", "", "__MACOSX", "C:", "é", "e\u0301",
     "\x1b[2J", "$x$", "<b>", "a|b", " ", "a" * 300, "\udcff", "1.png", "x\\y", "CON", "~", "-rf"]
)  # fmt: skip
NAMES = st.builds(lambda parts, end: "/".join([*parts, end]), st.lists(PARTS, max_size=4),
                  st.sampled_from(["1.png", "2.PNG", "3.jpg", "x.txt", "z.zip", ".png", "png", "4.jpeg", "", "5.svg"]))  # fmt: skip


USUAL = [f"k{c}/{i}.png" for c in range(6) for i in (1, 2)]  # beside what is drawn


def require_whole(path: Path) -> None:
    """No class is on two sides, and every task is of numbers."""
    pool = load_folder(path, 4)
    assert len(set(zip(pool.groups, pool.names, strict=True))) == len(pool)
    assert pool.sizes.min() >= 1
    tasks = load_tasks(str(path), ways=2, shots=1, queries=1, image_size=4)
    seen: set[str] = set()
    for split in tasks.splits:
        names = set(tasks.pool(split).names)  # type: ignore[attr-defined]
        assert not seen & names
        seen |= names
        assert bool(tasks.task(split, 0).query.x.isfinite().all())


@pytest.mark.filterwarnings("ignore:Duplicate name")
@inputs(60)
@given(names=st.lists(NAMES, min_size=1, max_size=5), data=st.data())
def test_an_archive_of_any_names_is_read_or_refused(names: list[str], data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["zip", "zip", "scratched", "tar", "links", "nested"]))
    buffer = io.BytesIO()
    if kind == "tar":
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for name in names:
                tar.addfile(tarfile.TarInfo(name.encode("utf-8", "replace").decode()))
    else:
        with zipfile.ZipFile(buffer, "w") as archive:
            for i, name in enumerate([*USUAL, *names]):
                entry = zipfile.ZipInfo(name.encode("utf-8", "replace").decode())
                entry.external_attr = (0o120777 if kind == "links" else 0o100644) << 16
                archive.writestr(entry, b"/etc/passwd" if kind == "links" else png(i))
    content = buffer.getvalue()
    if kind == "nested":
        outer = io.BytesIO()
        with zipfile.ZipFile(outer, "w") as archive:
            archive.writestr("a/inner.zip", content)
        content = outer.getvalue()
    if kind == "scratched":
        content = data.draw(scratched(content))
    with tempfile.TemporaryDirectory() as place, tried("archives"):
        path = Path(place) / "x.zip"
        path.write_bytes(content)
        require_whole(path)


@inputs(60)
@given(names=st.lists(NAMES, min_size=1, max_size=5), data=st.data())
def test_a_folder_of_any_names_is_read_or_refused(names: list[str], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "data"
        root.mkdir()
        for i, name in enumerate([*USUAL, *names]):
            path = root.joinpath(
                *(part for part in name.split("/") if part not in ("..", ".", "") and "\x00" not in part)
            )
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                if name not in USUAL and data.draw(st.integers(0, 7)) == 0:
                    path.symlink_to(
                        data.draw(st.sampled_from([".", "..", "/etc", str(path), "nowhere", str(root)]))
                    )
                else:
                    path.write_bytes(png(i))
            except (OSError, UnicodeEncodeError):  # there is something else already, or no such name
                continue
        with tried("folders"):
            require_whole(root)
