"""Omniglot: 1,623 characters of 50 alphabets, each drawn by 20 people.

B. Lake, R. Salakhutdinov, J. Tenenbaum. Human-level concept learning through probabilistic program
induction. Science 350, 2015. Archives: github.com/brendenlake/omniglot, folder python.
"""

import os
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fphi.errors import DataError
from fphi.tasks.archive import Archive, open_archive
from fphi.tasks.cache import cache_folder, cached_pool
from fphi.tasks.download import download
from fphi.tasks.image import decode, to_array
from fphi.tasks.pool import ClassPool

__all__ = [
    "BACKGROUND",
    "CHARACTERS",
    "DRAWERS",
    "ORIGINAL_SIDE",
    "find_omniglot",
    "load_omniglot",
    "omniglot_folder",
]

BACKGROUND = 964
CHARACTERS = 1623
DRAWERS = 20
ORIGINAL_SIDE = 105

_URL = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python"
_PARTS = {"images_background": BACKGROUND, "images_evaluation": CHARACTERS - BACKGROUND}
_MD5 = {
    "images_background": "68d2efa1b9178cc56df9314c21c6e718",
    "images_evaluation": "6b91aef0f799c5bb55b94e3f2daec811",
}


def load_omniglot(data_root: Path | str | None = None, image_size: int = 28) -> ClassPool:
    """Return all characters: the background alphabets sorted, then the evaluation alphabets sorted.

    Images have two values, ink 255 and paper 0, and 28x28 pixels by default. They are reduced by nearest
    neighbour, as in the references: these ask for Lanczos, but Pillow ignores the filter on 1-bit
    images. Nearest neighbour from 105 to 28 commutes with quarter turns: turning the small image is exact.

    Args:
        data_root: where ``images_background`` and ``images_evaluation`` are, as zips or as folders,
            directly or in its subfolder ``omniglot``; None: the folder that FPHI_DATA names, else the
            cache. What is in neither is downloaded there.
        image_size: pixels of a side, up to the 105 of the originals.

    Raises:
        DataError: if the size is none, or an archive cannot be found or fetched, or is damaged or incomplete.
    """
    if not 1 <= image_size <= ORIGINAL_SIDE:
        raise DataError(
            f"image size {image_size}: Omniglot has 1 to {ORIGINAL_SIDE} pixels a side; ask for these"
        )
    archives = [open_archive(find_omniglot(part, data_root) or _fetch(part, data_root)) for part in _PARTS]
    fingerprint = "|".join(archive.fingerprint() for archive in archives)
    return cached_pool(f"omniglot-{image_size}", fingerprint, lambda: _decode_all(archives, image_size))


def find_omniglot(part: str, data_root: Path | str | None = None) -> Path | None:
    """Return the zip or folder of ``images_background`` or ``images_evaluation``, or None."""
    root = _root(data_root)
    for folder in (root, root / "omniglot", cache_folder() / "omniglot"):
        for path in (folder / f"{part}.zip", folder / part):
            if path.exists():
                return path
    return None


def omniglot_folder(data_root: Path | str | None = None) -> Path:
    """Return the folder that missing archives are downloaded to, or can be put into by hand."""
    return _root(data_root) / "omniglot"


def _root(data_root: Path | str | None) -> Path:
    return Path(data_root or os.environ.get("FPHI_DATA") or cache_folder())


def _fetch(part: str, data_root: Path | str | None) -> Path:
    target = omniglot_folder(data_root) / f"{part}.zip"
    try:
        download(f"{_URL}/{part}.zip", target, _MD5[part])
    except DataError as error:
        raise DataError(f"{error}, or name the folder that has it by --data-root or FPHI_DATA") from error
    return target


def _decode_all(archives: list[Archive], size: int) -> ClassPool:
    names: list[str] = []
    arrays: list[NDArray[np.uint8]] = []
    for archive, (part, expected) in zip(archives, _PARTS.items(), strict=True):
        before = len(names)
        for name, files in _characters(archive, part):
            names.append(name)
            arrays.append(np.stack([_image(archive, file, size) for file in files]))
        if len(names) - before != expected:
            raise DataError(
                f"{archive.path} has {len(names) - before} characters, not {expected}; fetch it again"
            )
    return ClassPool.from_classes(arrays, names, [name.split("/")[0] for name in names])


def _characters(archive: Archive, part: str) -> Iterator[tuple[str, list[str]]]:
    """Yield ("Alphabet/characterNN", its 20 files), sorted by alphabet, then character, then drawer."""
    files = sorted(name.split("/") for name in archive.names() if name.endswith(".png"))
    for key, group in groupby(files, key=lambda parts: parts[:-1]):
        members = ["/".join(parts) for parts in group]
        if len(members) != DRAWERS:
            raise DataError(
                f"{archive.where('/'.join(key))} has {len(members)} drawings, not {DRAWERS}; fetch it again"
            )
        yield "/".join(key).removeprefix(f"{part}/"), members


def _image(archive: Archive, name: str, size: int) -> NDArray[np.uint8]:
    image = decode(archive, name).convert("1", dither=Image.Dither.NONE)
    small = image.resize((size, size), Image.Resampling.NEAREST)
    return 255 - to_array(small)
