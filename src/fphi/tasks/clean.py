"""A folder of images whose labels somebody has looked at, beside data of which nobody has."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fphi.errors import DataError
from fphi.tasks.folder import ImageMode, load_split_folders
from fphi.tasks.labelled import balanced_order
from fphi.tasks.supervised import Supervised
from fphi.tasks.types import Examples

__all__ = ["load_clean", "without_doubles"]


def load_clean(
    path: Path | str,
    data: Supervised,
    *,
    image_size: int = 28,
    mode: ImageMode = "grey",
    seed: int = 0,
    numbers: Sequence[int] | None = None,
) -> Examples:
    """All images of a folder or zip, standardised as those of ``data``; the classes take turns.

    Args:
        path: ``CLASS/image`` or ``SPLIT/CLASS/image``; a class is one of the data by its name (its number,
            where they have no names).
        data: that the images are to go with.
        image_size: pixels of a side.
        mode: channels.
        seed: of the order.
        numbers: of the classes, where the data have no names and are some of the classes alone.

    Raises:
        DataError: there are no images, a class is none of the data's, or one of these has none.
    """
    if not Path(path).exists():
        raise DataError(f"there is no folder {path} of clean examples; check --clean")
    names = data.names or tuple(map(str, numbers or range(data.classes)))
    pools = load_split_folders(path, image_size, mode).values()
    found = {name for pool in pools for name in pool.names}
    for missing, where, other in (
        (sorted(found - set(names)), data.name, path),
        (sorted(set(names) - found), path, data.name),
    ):
        if missing:
            raise DataError(
                f"{where} has no class {missing[0]!r}, and {other} has; give both the same classes"
            )
    images = np.concatenate([pool.images for pool in pools])
    labels = np.concatenate([np.repeat([names.index(n) for n in p.names], p.sizes) for p in pools])
    if images.shape[1:] != data.input_shape or data.levels is None:
        raise DataError(
            f"images of {path} have shape {list(images.shape[1:])} and those of {data.name} "
            f"{list(data.input_shape)}; give the same size and mode"
        )
    order, (mean, deviation) = balanced_order(labels, seed), data.levels
    x = (torch.from_numpy(images[order]).float() - mean) / deviation
    return Examples(x, torch.from_numpy(labels[order]))


def without_doubles(data: Supervised, clean: Tensor, path: str) -> Supervised:
    """The data without the training images that are among the clean ones too, to the last pixel.

    Raises:
        DataError: an image is one to test on, or none is left to train on.
    """
    known = {row.numpy().tobytes() for row in clean}
    tested = sum(row.numpy().tobytes() in known for row in data.test.x)
    if tested:
        raise DataError(
            f"{tested} test images of {data.name} are among those of {path}; give {data.name} a folder named "
            "test, and leave its images out of the clean ones"
        )
    kept = torch.tensor([row.numpy().tobytes() not in known for row in data.train.x])
    if kept.all():
        return data
    if not kept.any():
        raise DataError(
            f"all training images of {data.name} are among those of {path}; give others to train on"
        )
    note = f"{int((~kept).sum())} training images are clean ones of {path}, and are not trained on besides"
    rows = None if data.rows is None else data.rows[kept]
    train = Examples(data.train.x[kept], data.train.y[kept])
    return data._replace(train=train, rows=rows, notes=(*data.notes, note))
