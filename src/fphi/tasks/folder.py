"""Any folder or zip of images with one folder per class."""

from collections import defaultdict
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fphi.errors import DataError
from fphi.tasks.archive import Archive, decode, open_archive, to_array
from fphi.tasks.pool import ClassPool
from fphi.tasks.splits import SPLITS

__all__ = ["ImageMode", "has_split_folders", "load_folder", "load_split_folders"]

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
_SPLIT_NAMES = {**{split: split for split in SPLITS}, "val": "validation", "valid": "validation"}

_GREY = 16
"""How far apart the channels of a grey pixel may be, of 255."""
_GREY_NOTE = "the images are in colour and are read in grey: --mode rgb keeps the colour"

ImageMode = Literal["grey", "rgb"]
"""Channels of the images: one, or red, green and blue."""

Files = dict[tuple[str, str], list[str]]
"""(split or "", class) to the names of its images."""


def load_folder(path: Path | str, size: int = 28, mode: ImageMode = "grey") -> ClassPool:
    """Read ``CLASS/image`` or ``SPLIT/CLASS/image`` from a folder or a zip; images end up square.

    A class is the folder that an image is in, so deeper folders (``Greek/alpha/1.png``) are classes
    named by their whole path. Folders that contain everything else are looked through.

    Top-level folders train, test and validation (or val) that share no class are splits of classes:
    they become the groups of the pool. Where they share classes, as in ordinary classification data,
    the images of a class are put together, since a class may be in one split only.

    Args:
        path: the folder or the zip.
        size: pixels of a side after resizing (bilinear). Images are shown upright, as their EXIF data say,
            and transparent pixels over white.
        mode: "grey" for one channel, "rgb" for three. The pool's notes say if "grey" drops colours.

    Raises:
        DataError: if there are no classes, an image does not decode, or a zip names files outside itself.
    """
    archive = open_archive(Path(path))
    return _pool(archive, _merge(_divided(archive)), size, mode)


def load_split_folders(path: Path | str, size: int = 28, mode: ImageMode = "grey") -> dict[str, ClassPool]:
    """Read ``SPLIT/CLASS/image`` as ordinary classification data: a pool for each split, by its name.

    What is in no split is a pool named "". Arguments and errors as in `load_folder`.
    """
    archive = open_archive(Path(path))
    files = _divided(archive)
    splits = sorted({split for split, _ in files}) or [""]
    return {
        split: _pool(archive, {key: names for key, names in files.items() if key[0] == split}, size, mode)
        for split in splits
    }


def _pool(archive: Archive, files: Files, size: int, mode: ImageMode) -> ClassPool:
    if not files:
        raise DataError(
            f"{archive.path} has no images in class folders; "
            "expected CLASS/image.png or SPLIT/CLASS/image.png"
        )
    keys, coloured = sorted(files), False
    arrays = []
    for key in keys:
        small = []
        for name in files[key]:
            image = _upright_and_opaque(decode(archive, name))
            coloured = coloured or (mode == "grey" and _in_colour(image))
            small.append(_small(image, size, mode))
        arrays.append(np.stack(small))
    return ClassPool.from_classes(
        arrays, [name for _, name in keys], [group for group, _ in keys], [_GREY_NOTE] if coloured else []
    )


def has_split_folders(pool: ClassPool) -> bool:
    """Return whether the classes of a folder came divided."""
    return "train" in pool.groups and "test" in pool.groups


def _divided(archive: Archive) -> Files:
    parts = [name.split("/") for name in archive.names() if name.lower().endswith(_SUFFIXES)]
    root = _common_root(parts)
    divided: Files = defaultdict(list)
    for path in parts:
        inner = path[root:]
        split = _SPLIT_NAMES.get(inner[0].lower(), "") if len(inner) > 2 else ""
        name = "/".join(inner[1 if split else 0 : -1])
        if name:
            divided[split, name].append("/".join(path))
    return divided


def _common_root(parts: list[list[str]]) -> int:
    """Return how many leading folders all images share and none of which is a class or a split."""
    depth = 0
    while parts and all(len(p) > depth + 2 for p in parts) and len({p[depth] for p in parts}) == 1:
        if parts[0][depth].lower() in _SPLIT_NAMES:
            break
        depth += 1
    return depth


def _merge(divided: Files) -> Files:
    """Keep the splits if no class is in two of them and training and test exist; else forget them."""
    splits = {split for split, _ in divided}
    names = [name for _, name in divided]
    if {"train", "test"} <= splits <= set(SPLITS) and len(set(names)) == len(names):
        return divided
    merged: Files = defaultdict(list)
    for (_, name), files in divided.items():
        merged["", name] += files
    return merged


def _upright_and_opaque(image: Image.Image) -> Image.Image:
    """As a viewer shows it: turned as its EXIF data say, and laid over white where it is transparent."""
    if image.mode.startswith("I;16"):  # Pillow would make all but the darkest values white
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    image = ImageOps.exif_transpose(image)
    if "A" not in image.getbands() and "transparency" not in image.info:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)


def _in_colour(image: Image.Image) -> bool:
    """Whether its channels differ by more than what compression leaves of grey."""
    if len(image.getbands()) == 1 and image.mode != "P":
        return False
    pixels = np.asarray(image.convert("RGB").resize((16, 16)), dtype=np.int16)
    return bool((pixels.max(2) - pixels.min(2)).max() > _GREY)


def _small(image: Image.Image, size: int, mode: ImageMode) -> NDArray[np.uint8]:
    one = image.convert("RGB" if mode == "rgb" else "L")
    return to_array(one.resize((size, size), Image.Resampling.BILINEAR))
