"""An image file as grey levels or colours: only the decoders of a fixed list of formats are ever called."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from fphi.errors import DataError
from fphi.tasks.archive import Archive

__all__ = ["SUFFIXES", "ImageMode", "ImageReader", "Values", "decode", "to_array"]

FORMATS = ("PNG", "JPEG", "BMP", "DIB", "GIF", "WEBP", "TIFF", "PPM")
"""What a file may be, by its first bytes and whatever its name: decoders of others start programs."""

SUFFIXES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".webp"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
)

ImageMode = Literal["grey", "rgb"]
"""Channels of the images: one, or red, green and blue."""

Values = tuple[float, float]
"""Of images of floats or of 32 bits, which do not say it: what black is, and what white is."""

_MOST_PIXELS = 2**26
"""Of one image: a few kilobytes can claim more pixels than the memory holds."""

_MOST_IN_ALL = 2**31
_MOST_TIMES = 256
"""Pixels of all images, and bytes that are made of them, unless there are so many for a byte of the data."""

_GREY = 16
"""How far apart the channels of a grey pixel may be, of 255."""
_GREY_NOTE = "the images are in colour and are read in grey: --mode rgb keeps the colour"

_USUAL_WHITE = (1.0, 255.0)
"""What white is in images of floats or of 32 bits, which do not say it: the first that nothing is above."""

_FEW_BITS = {"1": 255, "L;2": 85, "L;4": 17, "RGB;16B": 1 / 256}
"""By what Pillow multiplies the pixels of a PNG, but not the colour that is transparent."""

Pixels = NDArray[np.uint8] | NDArray[np.float32]


def decode(archive: Archive, name: str) -> Image.Image:
    """Read and decode one image, turned as its EXIF data say.

    Raises:
        DataError: naming the file, if it is not a whole image of a known format, or larger than any needs.
    """
    content = archive.read(name)
    with _readable(archive, name):
        return _decoded(archive, name, content)


def to_array(image: Image.Image) -> NDArray[np.uint8]:
    """Return an image as uint8 [C, H, W]; two-valued images as 0 and 255."""
    array = np.asarray(image)
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    return array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)


class ImageReader:
    """Reads the images of a data set as squares of grey levels or colours, 0 to 255.

    Transparent pixels lie over white. Images of floats or 32 bits do not say which value is white: all of a
    data set are scaled alike, which is known when the last one is read.

    Args:
        archive: where the files are.
        size: pixels of a side after resizing (bilinear).
        mode: "grey" for one channel, "rgb" for three.
        values: by which such images are scaled, darker ones black and brighter ones white; "each" for each by
            its own alone; None: by those of all that are read.
    """

    def __init__(
        self,
        archive: Archive,
        size: int,
        mode: ImageMode,
        values: Values | Literal["each"] | None = None,
    ) -> None:
        self.archive, self.size, self.mode, self._given = archive, size, mode, values
        self._coloured = False
        self._moving: list[str] = []  # names of images of several frames
        self._most = max(_MOST_IN_ALL, _MOST_TIMES * archive.size())
        self._pixels = self._bytes = 0
        self._extremes: tuple[float, float] | None = None  # the least and the largest of such images

    def read(self, name: str) -> Pixels:
        """Return one image [C, size, size]: uint8, or float32 where it is still to be scaled by `stacked`."""
        content = self.archive.read(name)
        with _readable(self.archive, name):
            image = _decoded(self.archive, name, content)
            self._take(name, image)
            if image.mode in ("I", "F"):
                return self._unscaled(name, image)
            image = _opaque(_eight_bits(image))
            self._coloured = self._coloured or (self.mode == "grey" and _in_colour(image))
            return to_array(self._small(image.convert("RGB" if self.mode == "rgb" else "L")))

    def stacked(self, images: Sequence[Pixels]) -> NDArray[np.uint8]:
        """Return images that `read` gave as one array, once all are read."""
        values = self.values or (0.0, 1.0)  # where there are none to be scaled
        return np.stack([image if image.dtype == np.uint8 else _scaled(image, values) for image in images])

    @property
    def values(self) -> Values | None:
        """What is black and what white of images of floats or 32 bits; None: there are none."""
        if isinstance(self._given, tuple):
            return self._given
        return None if self._extremes is None else _black_and_white(*self._extremes)

    @property
    def notes(self) -> list[str]:
        """What a user should know of how the images were read."""
        notes = [_GREY_NOTE] if self._coloured else []
        if self._moving:
            several = "image has" if len(self._moving) == 1 else "images have"
            notes.append(
                f"{len(self._moving)} {several} several frames, of which the first is read, such as "
                f"{self.archive.where(self._moving[0])}"
            )
        if self._extremes is not None and self.values is not None:
            black, white = self.values
            notes.append(f"images of floats or 32 bits: {black:g} is read as black and {white:g} as white")
        return notes

    def _take(self, name: str, image: Image.Image) -> None:
        """Count an image, and refuse what the data cannot be meant to hold."""
        if getattr(image, "is_animated", False):
            self._moving.append(name)
        self._pixels += image.width * image.height
        self._bytes += self.size**2 * (3 if self.mode == "rgb" else 1)
        if max(self._pixels, self._bytes) > self._most:
            raise DataError(
                f"up to {self.archive.where(name)} the images have {self._pixels} pixels, and "
                f"{self._bytes} at --image-size {self.size}; at most {self._most} are read of so few bytes: "
                "take fewer images, or a smaller size"
            )

    def _small(self, image: Image.Image) -> Image.Image:
        return image.resize((self.size, self.size), Image.Resampling.BILINEAR)

    def _unscaled(self, name: str, image: Image.Image) -> Pixels:
        values = _values(image)
        if not np.isfinite(values).all():
            raise DataError(
                f"{self.archive.where(name)} has pixels that are not finite; replace or remove it"
            )
        least, most = float(values.min()), float(values.max())
        before = self._extremes or (least, most)
        self._extremes = min(least, before[0]), max(most, before[1])
        if isinstance(self._given, tuple):
            values = values.clip(*self._given)
        small = np.asarray(self._small(Image.fromarray(values)))
        pixels = np.repeat(small[None], 3 if self.mode == "rgb" else 1, axis=0)
        return _scaled(pixels, _black_and_white(least, most)) if self._given == "each" else pixels


def _black_and_white(least: float, most: float) -> Values:
    """Which values are meant to be these, of images whose least and largest are given."""
    if least < 0:
        return least, max(most, 0.0)
    return 0.0, next((white for white in _USUAL_WHITE if most <= white), most)


def _scaled(image: Pixels, values: Values) -> NDArray[np.uint8]:
    black, white = values
    shares = (image.astype(np.float64) - black) / (white - black)
    levels: NDArray[np.uint8] = np.rint(255 * shares.clip(0, 1)).astype(np.uint8)
    return levels


@contextmanager
def _readable(archive: Archive, name: str) -> Iterator[None]:
    """Name the file in what Pillow raises; its own words name the buffer in memory."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # what a decoder raises on a damaged file has no class of its own
        unknown = isinstance(error, UnidentifiedImageError)
        reason = "of no known format" if unknown else " ".join(str(error).split())[:200]
        reason = reason or type(error).__name__
        raise DataError(
            f"{archive.where(name)} is not a readable image ({reason}); replace or remove it"
        ) from error


def _decoded(archive: Archive, name: str, content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content), formats=FORMATS)
    if image.width * image.height > _MOST_PIXELS:
        raise DataError(
            f"{archive.where(name)} has {image.width} x {image.height} pixels, and at most {_MOST_PIXELS} "
            "are read; make it smaller or remove it"
        )
    stored = image.tile[0].args if image.format == "PNG" and image.tile else None
    image.load()
    clear = image.info.get("transparency")
    if clear is not None and isinstance(stored, str) and stored in _FEW_BITS:
        scaled = [int(_FEW_BITS[stored] * c) for c in (clear if isinstance(clear, tuple) else (clear,))]
        image.info["transparency"] = tuple(scaled) if isinstance(clear, tuple) else scaled[0]
    ImageOps.exif_transpose(image, in_place=True)
    return _of_16_bits(image) if image.format == "PPM" and image.mode == "I" else image


def _of_16_bits(image: Image.Image) -> Image.Image:
    """A PGM of more than 8 bits, which Pillow scales to 16 and keeps in 32."""
    return Image.fromarray(np.asarray(image).astype(np.uint16))


def _eight_bits(image: Image.Image) -> Image.Image:
    """The upper 8 of 16 bits; Pillow would make all but the darkest values white."""
    if not image.mode.startswith("I;16"):
        return image
    values = np.asarray(image)
    bits, inverted = _of_tiff(image)
    levels = (values >> max(0, min(bits, 16) - 8)).astype(np.uint8)
    levels = 255 - levels if inverted else levels
    clear = image.info.get("transparency")
    return Image.fromarray(levels if clear is None else np.where(values == clear, np.uint8(255), levels))


def _values(image: Image.Image) -> NDArray[np.float32]:
    """The values of an image of floats or of 32 bits, which Pillow takes for signed ones."""
    values = np.asarray(image)
    tags = getattr(image, "tag_v2", {})
    if image.mode == "I" and 32 in tags.get(_BITS, ()) and tags.get(_SAMPLE_FORMAT, (1,))[0] == 1:
        values = values.view(np.uint32)
    values = values.astype(np.float32)
    return values.max() - values if _of_tiff(image)[1] else values


_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF


def _of_tiff(image: Image.Image) -> tuple[int, bool]:
    """Bits of a pixel, and whether 0 is white; where no TIFF says otherwise 16, and black."""
    tags = getattr(image, "tag_v2", {})
    return int(tags.get(_BITS, (16,))[0]), tags.get(_PHOTOMETRIC) == 0


def _opaque(image: Image.Image) -> Image.Image:
    """Laid over white where it is transparent."""
    if image.mode == "LAB":
        lab, rgb = (ImageCms.ImageCmsProfile(ImageCms.createProfile(space)) for space in ("LAB", "sRGB"))
        return ImageCms.ImageCmsTransform(lab, rgb, "LAB", "RGB").apply(image)
    if not {"A", "a"} & set(image.getbands()) and "transparency" not in image.info:
        return image
    if image.mode == "La":
        image = image.convert("LA")
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)


def _in_colour(image: Image.Image) -> bool:
    """Whether its channels differ by more than what compression leaves of grey."""
    if len(image.getbands()) == 1 and image.mode != "P":
        return False
    pixels = np.asarray(image.convert("RGB").resize((16, 16)), dtype=np.int16)
    return bool((pixels.max(2) - pixels.min(2)).max() > _GREY)
