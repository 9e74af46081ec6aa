"""Images of every depth, mode and ending: grey levels are scaled and not clipped, and what is left out is told."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile

from fphi.errors import DataError
from fphi.tasks import load_folder
from fphi.tasks.image import FORMATS

RAMP = np.linspace(0, 1, 8)[None].repeat(8, 0)
RAMP_OF_BYTES = [0, 36, 73, 109, 146, 182, 219, 255]


def saved(path: Path, image: Image.Image, **how: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **how)
    return path


def row_of(folder: Path, **how: Any) -> list[int]:
    row: list[int] = load_folder(folder, 8, **how).images[0, 0, 0].tolist()
    return row


def png(width: int, height: int, depth: int, kind: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG by hand, of depths and kinds that Pillow does not write."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def pgm(values: NDArray[np.uint16], white: int) -> bytes:
    return b"P5 8 8 %d\n" % white + values.astype(">u2").tobytes()


def retagged(path: Path, tag: int, value: int) -> None:
    """Give a tag of a TIFF another value."""
    content = bytearray(path.read_bytes())
    place = content.index(struct.pack("<HHI", tag, 3, 1)) + 8
    content[place : place + 2] = struct.pack("<H", value)
    path.write_bytes(content)


# Depth ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "array",
    [
        (RAMP * 65535).round().astype(np.uint16),
        (RAMP * 255).astype(np.float32),
        RAMP.astype(np.float32),
        (RAMP * 1000).astype(np.float32),
        (RAMP * 2 - 1).astype(np.float32),
        (RAMP * 65535).round().astype(np.int32),
        (RAMP * (2**31 - 1)).astype(np.int32),
        (RAMP * 200_000 - 100_000).round().astype(np.int32),
    ],
    ids=["16", "float-255", "float-1", "float-1000", "float-signed", "int-16", "int-31", "int-signed"],
)
@pytest.mark.parametrize("colours", ["grey", "rgb"])
def test_deep_images_are_scaled_and_not_clipped(tmp_path: Path, array: NDArray[Any], colours: str) -> None:
    saved(tmp_path / "a/1.tif", Image.fromarray(array))
    assert row_of(tmp_path, mode=colours) == pytest.approx(RAMP_OF_BYTES, abs=1)


def test_unsigned_values_of_32_bits_do_not_become_negative(tmp_path: Path) -> None:
    bits = (RAMP * (2**32 - 1)).astype(np.uint32)
    path = saved(tmp_path / "a/1.tif", Image.fromarray(bits.view(np.int32)))
    retagged(path, 339, 1)
    assert row_of(tmp_path) == RAMP_OF_BYTES


def test_values_of_32_bits_keep_their_order_between_images(tmp_path: Path) -> None:
    """Each image scaled by itself would make a dark one as light as the others."""
    for i, top in enumerate((70_000, 7_000)):
        saved(tmp_path / f"a/{i}.tif", Image.fromarray((RAMP * top).astype(np.int32)))
    images = load_folder(tmp_path, 8)
    assert images.images[:, 0, 0, -1].tolist() == [255, 26]
    assert images.notes == ("images of floats or 32 bits: 0 is read as black and 70000 as white",)


@pytest.mark.parametrize("white", [1023, 4095, 65535])
def test_a_pgm_says_what_its_white_is(tmp_path: Path, white: int) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.pgm").write_bytes(pgm((RAMP * white).round().astype(np.uint16), white))
    assert row_of(tmp_path) == pytest.approx(RAMP_OF_BYTES, abs=1)


@pytest.mark.parametrize(("dtype", "white"), [(np.uint16, 65535), (np.float32, 1.0)])
def test_where_0_is_white_the_grey_levels_are_turned_round(tmp_path: Path, dtype: type, white: float) -> None:
    array: NDArray[Any] = ((1 - RAMP) * white).astype(dtype)
    path = saved(tmp_path / "a/1.tif", Image.fromarray(array))
    retagged(path, 262, 0)
    assert row_of(tmp_path) == pytest.approx(RAMP_OF_BYTES, abs=1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    array = RAMP.astype(np.float32)
    array[3, 3] = value
    saved(tmp_path / "a/1.tif", Image.fromarray(array))
    with pytest.raises(DataError, match=r"a/1.tif has pixels that are not finite; replace or remove it"):
        load_folder(tmp_path)


@pytest.mark.parametrize("kind", [2, 6])
def test_colours_of_16_bits_are_scaled(tmp_path: Path, kind: int) -> None:
    values = np.zeros((8, 8, 3 + (kind == 6)), ">u2")
    values[..., 0], values[..., 1:] = (RAMP * 65535).round(), 65535
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.png").write_bytes(png(8, 8, 16, kind, rows))
    assert row_of(tmp_path, mode="rgb") == RAMP_OF_BYTES


# Modes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("depth", "kind", "dark", "clear", "row"),
    [
        (1, 0, b"\0\0", 1, b"\0\x0f"),
        (2, 0, b"\0\0", 2, b"\0\x00\xaa"),
        (4, 0, b"\0\0", 7, b"\0\x00\x00\x77\x77"),
        (16, 0, b"\0\0", 300, b"\0" + struct.pack(">8H", *[0] * 4, *[300] * 4)),
        (16, 2, b"\0\0" * 3, 700, b"\0" + struct.pack(">24H", *[0] * 12, *[700] * 12)),
    ],
)
def test_a_colour_that_is_transparent_is_white_at_any_depth(
    tmp_path: Path, depth: int, kind: int, dark: bytes, clear: int, row: bytes
) -> None:
    chunk = (b"tRNS", struct.pack(">H", clear) * (3 if kind == 2 else 1))
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.png").write_bytes(png(8, 8, depth, kind, row * 8, chunk))
    assert row_of(tmp_path) == [0] * 4 + [255] * 4
    assert row_of(tmp_path, mode="rgb") == [0] * 4 + [255] * 4


@pytest.mark.parametrize("ending", ["tif", "jpg"])
def test_inks_are_read_as_a_viewer_shows_them(tmp_path: Path, ending: str) -> None:
    inks = np.zeros((8, 8, 4), np.uint8)
    inks[:, 4:, 3] = 255  # black
    saved(tmp_path / f"a/1.{ending}", Image.fromarray(inks, "CMYK"))
    for colours in ("grey", "rgb"):
        row = row_of(tmp_path, mode=colours)
        assert row == pytest.approx([255] * 4 + [0] * 4, abs=40)
        assert (min(row[:3]), max(row[-3:])) == pytest.approx((255, 0), abs=8)


def test_lightness_and_colour_become_red_green_and_blue(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)  # neither red nor green, blue nor yellow
    pixels[..., 0] = (RAMP * 255).round()
    saved(tmp_path / "a/1.tif", Image.fromarray(pixels, "LAB"))
    row = row_of(tmp_path)
    assert (row[0], row[-1]) == pytest.approx((0, 255), abs=2)
    assert row == sorted(row)


@pytest.mark.parametrize("mode", ["1", "L", "P", "PA", "LA", "RGB", "RGBA", "RGBX", "YCbCr", "CMYK"])
def test_no_mode_is_clipped(tmp_path: Path, mode: str) -> None:
    """Light on the right in every mode that a file can have."""
    grey = Image.fromarray(np.where(RAMP > 0.5, np.uint8(200), np.uint8(40)))
    by = {"PA": "P", "CMYK": "RGB"}.get(mode, "L")
    saved(tmp_path / ("a/1.png" if mode == "P" else "a/1.tif"), grey.convert(by).convert(mode))
    two_values, kept = [0] * 4 + [255] * 4, [40] * 4 + [200] * 4
    assert row_of(tmp_path) == pytest.approx(two_values if mode == "1" else kept, abs=3)


def test_grey_that_is_stored_times_its_opacity_lies_over_white(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8, 2), np.uint8)
    pixels[:, :4] = 60, 255
    path = saved(tmp_path / "a/1.tif", Image.fromarray(pixels, "LA"))
    retagged(path, 338, 1)
    assert row_of(tmp_path) == [60] * 4 + [255] * 4


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["8", "16", "float", "palette"])
def test_images_of_all_kinds_stand_upright(tmp_path: Path, turn: int, kind: str) -> None:
    """What EXIF calls 1 to 8 are the ways to store an image whose upper left corner is dark."""
    upright = np.full((8, 8), 200, np.uint8)
    upright[:4, :2] = 20
    flips = {1: "", 2: "m", 3: "rr", 4: "mrr", 5: "mr", 6: "r", 7: "mrrr", 8: "rrr"}[turn]
    stored = upright
    for flip in flips:
        stored = np.fliplr(stored) if flip == "m" else np.rot90(stored)
    deep = {"16": stored.astype(np.uint16) * 257, "float": stored.astype(np.float32)}
    image = Image.fromarray(np.ascontiguousarray(deep.get(kind, stored)))
    exif = Image.Exif()
    exif[274] = turn
    image = image.convert("P") if kind == "palette" else image
    saved(tmp_path / ("a/1.tif" if kind == "float" else "a/1.png"), image, exif=exif)
    assert np.abs(load_folder(tmp_path, 8).images[0, 0].astype(int) - upright).max() <= 1


# Endings and formats ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ending", "kind"),
    [("JFIF", "JPEG"), ("jpe", "JPEG"), ("dib", "DIB"), ("pnm", "PPM"), ("pbm", "PPM"), ("apng", "PNG")],
)
def test_other_endings_of_the_same_formats_are_read(tmp_path: Path, ending: str, kind: str) -> None:
    saved(tmp_path / f"a/1.{ending}", Image.new("L", (8, 8), 255), format=kind)
    pool = load_folder(tmp_path, 8)
    assert (pool.names, pool.notes, int(pool.images.min())) == (("a",), (), 255)


def test_what_is_left_out_is_counted_and_named(tmp_path: Path) -> None:
    saved(tmp_path / "top/a/1.png", Image.new("L", (8, 8)))
    others = ("a/1.heic", "a/2.HEIC", "b/1.svg", "b/notes")
    for name in (*others, "README.txt", "a/.hidden", "a/Thumbs.db"):
        (tmp_path / "top" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "top" / name).write_bytes(b"x")
    (note,) = load_folder(tmp_path, 8).notes
    assert note == "4 files are left out: 2 of .heic, 1 of .svg, 1 of no ending"
    saved(tmp_path / "top/a/b/1.png", Image.new("L", (8, 8)))
    saved(tmp_path / "lonely.png", Image.new("L", (8, 8)))
    assert load_folder(tmp_path, 8).notes[0].endswith(", 1 in no class folder")


def test_a_folder_of_what_is_not_read_says_what_there_is(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.avif").write_bytes(b"x")
    with pytest.raises(
        DataError, match=r"has no images in class folders; 1 file is left out: 1 of \.avif; exp"
    ):
        load_folder(tmp_path)


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"
STRANGERS = {
    "postscript": POSTSCRIPT,
    "icon": b"\0\0\1\0\1\0\x08\x08\0\0\1\0\x20\0\x28\0\0\0\x16\0\0\0",
    "photoshop": b"8BPS\0\1" + bytes(6) + b"\0\3" + struct.pack(">IIHH", 8, 8, 8, 3),
    "metafile": b"\xd7\xcd\xc6\x9a\0\0" + bytes(40),
    "fits": b"SIMPLE  =                    T" + bytes(50),
}


@pytest.mark.parametrize("kind", STRANGERS)
@pytest.mark.parametrize("ending", ["png", "jpg", "tif"])
def test_no_other_decoder_is_called_whatever_a_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, ending: str
) -> None:
    """PostScript would start Ghostscript."""
    (tmp_path / "a").mkdir()
    (tmp_path / f"a/1.{ending}").write_bytes(STRANGERS[kind])
    decoded: list[str | None] = []
    load = ImageFile.ImageFile.load

    def seen(image: ImageFile.ImageFile) -> Any:
        decoded.append(image.format)
        return load(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", seen)
    with pytest.raises(DataError, match=rf"a/1.{ending} is not a readable image \(of no known format\)"):
        load_folder(tmp_path)
    assert not decoded
    assert not {"EPS", "PSD", "WMF", "ICO", "FITS"} & set(FORMATS)


# Bounds -----------------------------------------------------------------------------------------------


def claims(width: int, height: int) -> dict[str, bytes]:
    """Files of a few bytes that claim so many pixels."""
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, "TIFF")
    tiff = bytearray(buffer.getvalue())
    for tag, value in ((256, width), (257, height)):
        place = next(p for kind in (3, 4) if (p := tiff.find(struct.pack("<HHI", tag, kind, 1))) >= 0)
        tiff[place : place + 12] = struct.pack("<HHII", tag, 4, 1, value)
    return {
        "png": png(width, height, 8, 0, b""),
        "pgm": b"P5 %d %d 255\n" % (width, height),
        "bmp": b"BM" + struct.pack("<IIIIiiHHIIIIII", 60, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0),
        "tif": bytes(tiff),
    }


@pytest.mark.parametrize("ending", ["png", "pgm", "bmp", "tif"])
@pytest.mark.parametrize("side", [8193, 12_000, 60_000])
def test_more_pixels_than_any_image_has_are_refused_before_they_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, side: int
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / f"a/1.{ending}").write_bytes(claims(side, side)[ending])
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("decoded"))
    with pytest.raises(
        DataError, match=rf"a/1.{ending} (has {side} x {side} pixels|is not a readable image)"
    ):
        load_folder(tmp_path)
