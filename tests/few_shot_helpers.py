"""Small data of each kind that the tests of own data learn from."""

import io
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["blobs", "image_folder", "sound_folder", "tone", "write_tone"]


def blobs(each: int = 6, classes: int = 3, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
    """Rows of four numbers around a centre of each class."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(1).normal(size=(classes, 4)) * 4
    X = np.concatenate([centre + rng.normal(size=(each, 4)) for centre in centres])
    return X, np.repeat([f"class {k}" for k in range(classes)], each)


def _stripes(k: int, rng: np.random.Generator) -> Image.Image:
    """Coloured stripes, whose direction and colour are those of class k."""
    rows, columns = np.mgrid[0:40, 0:40]
    wave_ = np.sin((rows if k % 2 else columns) * 0.6 + rng.uniform(0, 6))
    pixels = np.zeros((40, 40, 3))
    pixels[..., k % 3] = 127 + 100 * wave_
    pixels += rng.normal(0, 10, pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def image_folder(path: Path, each: int = 4, classes: int = 3, seed: int = 0) -> Path:
    """A folder of coloured images, one folder per class."""
    return _folder(path, each, classes, seed, ".png", lambda file, k, rng: _stripes(k, rng).save(file))


def sound_folder(path: Path, each: int = 4, classes: int = 3, seed: int = 0) -> Path:
    """A folder of recordings of tones, one folder per class."""
    return _folder(path, each, classes, seed, ".wav", write_tone)


def _folder(
    path: Path,
    each: int,
    classes: int,
    seed: int,
    ending: str,
    write: Callable[[Path, int, np.random.Generator], None],
) -> Path:
    rng = np.random.default_rng(seed)
    for k in range(classes):
        (path / f"kind {k}").mkdir(parents=True, exist_ok=True)
        for i in range(each):
            write(path / f"kind {k}" / f"{seed}-{i}{ending}", k, rng)
    return path


def tone(k: int, rng: np.random.Generator, rate: int = 8000) -> NDArray[np.float64]:
    """Half a second of a tone with overtones, whose pitch is that of class k, in some noise."""
    time = np.arange(rate // 2) / rate
    pitch = 220 * 2**k * rng.uniform(0.97, 1.03)
    sound = sum(np.sin(2 * np.pi * n * pitch * time) / n for n in (1, 2, 3))
    return 0.3 * np.asarray(sound) + 0.01 * rng.normal(size=len(time))


def write_tone(path: Path, k: int, rng: np.random.Generator) -> None:
    """A tone as a WAV file of 16 bits."""
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes((32000 * tone(k, rng).clip(-1, 1)).astype("<i2").tobytes())
    path.write_bytes(content.getvalue())
