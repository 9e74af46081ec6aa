"""Small pools whose pixels say where they come from."""

from collections.abc import Sequence

import numpy as np

from fphi.tasks.pool import ClassPool


def labelled_pool(sizes: Sequence[int], groups: Sequence[str] | None = None) -> ClassPool:
    """Return a pool of 4x4 images; pixel [0, 0] is the class, [0, 1] the position in the class."""
    arrays = []
    for c, size in enumerate(sizes):
        array = np.zeros((size, 1, 4, 4), dtype=np.uint8)
        array[:, 0, 0, 0], array[:, 0, 0, 1] = c, np.arange(size)
        arrays.append(array)
    names = [f"class{c}" for c in range(len(sizes))]
    return ClassPool.from_classes(arrays, names, groups or ["all"] * len(sizes))
