"""Images and waveforms that were never files, as the bytes of files."""

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fphi.errors import DataError

__all__ = ["ExamplesError", "bitmap_file", "picture_file", "scale_of", "upright", "wave_file"]

_IN_PNG = ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16")


class ExamplesError(DataError, ValueError):
    """Examples or labels are of a form or have values that nothing can be learned from."""


def scale_of(images: Sequence[NDArray[Any]]) -> int:
    """What pixels are multiplied with to be 0 to 255: 255 where all are fractions of 1."""
    fractions = all(x.dtype.kind == "f" and x.max(initial=0) <= 1 for x in images)
    return 255 if fractions else 1


def bitmap_file(image: NDArray[Any], scale: int) -> Callable[[], bytes]:
    """An image ``[C, H, W]``, see `scale_of`."""

    def encoded() -> bytes:
        pixels = _levels(image, scale)
        return _written(Image.fromarray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1)))

    return encoded


def _levels(image: NDArray[Any], scale: int) -> NDArray[np.uint8]:
    if image.dtype.kind == "b":
        return image.astype(np.uint8) * np.uint8(255)
    if not np.isfinite(image).all():
        raise ExamplesError("an image has NaN or infinity among its pixels; replace or remove it")
    least, most = image.min(), image.max()
    if least < 0 or most * scale > 255:
        raise ExamplesError(
            f"an image has pixels from {least:g} to {most:g}; give 0 to 255, or fractions of 1"
        )
    pixels: NDArray[np.uint8] = np.rint(image * scale).astype(np.uint8)
    return pixels


def picture_file(image: Image.Image) -> Callable[[], bytes]:
    """One of Pillow's images, see `upright`."""
    return lambda: _written(upright(image))


def upright(image: Image.Image) -> Image.Image:
    """Turned as its camera has noted; some formats are when they are loaded, and must not be again."""
    image.load()
    return ImageOps.exif_transpose(image)


def _written(image: Image.Image) -> bytes:
    written = io.BytesIO()
    if image.mode in _IN_PNG:
        image.save(written, "PNG", compress_level=1)
    else:
        image.save(written, "TIFF")
    return written.getvalue()


def wave_file(samples: Any, rate: int) -> Callable[[], bytes]:
    """A waveform ``[n]``: floats, or the whole numbers that WAV files have."""

    def encoded() -> bytes:
        values = np.asarray(samples)
        if values.ndim != 1 or not np.isfinite(values).all():
            raise ExamplesError("a waveform must be finite numbers of one dimension; give such")
        from scipy.io import wavfile

        written = io.BytesIO()
        wavfile.write(written, rate, _samples(values))
        return written.getvalue()

    return encoded


def _samples(values: NDArray[Any]) -> NDArray[Any]:
    """In a type that WAV files have; whole numbers of other types are those of 16 bits, if they fit."""
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    if values.dtype in (np.uint8, np.int16, np.int32):
        return values
    if values.dtype.kind not in "iu" or values.min(initial=0) < -32768 or values.max(initial=0) > 32767:
        raise ExamplesError(
            f"a waveform is of {values.dtype}, which says nothing of how loud it is; give floats, or the "
            "uint8, int16 or int32 of a WAV file"
        )
    return values.astype(np.int16)
