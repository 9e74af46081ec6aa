"""The one-shot trials that people and programs were tested on by Lake, Salakhutdinov and Tenenbaum (2015).

There are two runs for each of ten evaluation alphabets. A run takes 20 characters of its alphabet, as two
people drew them: each of the second person's drawings is to be matched with the first person's drawing of the
same character. The trials are published as images alone; the numbers of characters and drawers below were
found by comparing these images with Omniglot's, pixel by pixel.
"""

import numpy as np

from fphi.errors import DataError
from fphi.tasks.episodes import Draw
from fphi.tasks.pool import ClassPool

__all__ = ["LAKE_ALPHABETS", "lake_runs"]

# Of each alphabet: the numbers of its 20 characters; then, for either run, the drawer of the support set and
# the drawer of the queries.
_RUNS = {
    "Atlantean": (
        (1, 2, 3, 4, 5, 7, 8, 9, 10, 13, 14, 16, 19, 20, 21, 22, 23, 24, 25, 26),
        ((5, 8), (3, 2)),
    ),
    "Ge_ez": (
        (1, 2, 3, 4, 5, 6, 8, 9, 10, 12, 14, 15, 16, 17, 18, 20, 21, 23, 24, 25),
        ((3, 7), (4, 2)),
    ),
    "Glagolitic": (
        (1, 2, 3, 5, 6, 7, 14, 17, 18, 19, 20, 21, 26, 28, 31, 34, 36, 37, 40, 43),
        ((6, 4), (3, 2)),
    ),
    "Gurmukhi": (
        (3, 6, 7, 8, 9, 13, 14, 15, 16, 17, 22, 25, 26, 29, 31, 32, 33, 38, 43, 44),
        ((5, 2), (8, 3)),
    ),
    "Kannada": (
        (1, 3, 5, 8, 11, 12, 13, 14, 19, 20, 21, 23, 25, 26, 27, 28, 33, 35, 40, 41),
        ((2, 1), (8, 3)),
    ),
    "Malayalam": (
        (2, 4, 5, 9, 13, 14, 15, 16, 17, 19, 20, 21, 22, 25, 27, 29, 30, 37, 43, 46),
        ((3, 7), (4, 2)),
    ),
    "Manipuri": (
        (3, 4, 6, 8, 9, 11, 12, 13, 15, 17, 19, 21, 22, 25, 29, 33, 35, 36, 37, 39),
        ((8, 4), (7, 3)),
    ),
    "Old_Church_Slavonic_(Cyrillic)": (
        (2, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 23, 24, 25, 30, 33, 41, 44, 45),
        ((4, 8), (1, 2)),
    ),
    "Tengwar": (
        (1, 2, 4, 5, 7, 8, 9, 10, 11, 12, 13, 16, 18, 19, 20, 21, 22, 23, 24, 25),
        ((1, 4), (8, 7)),
    ),
    "Tibetan": (
        (1, 2, 3, 5, 6, 7, 8, 9, 11, 13, 14, 15, 21, 22, 24, 33, 35, 36, 38, 41),
        ((1, 3), (8, 5)),
    ),
}

LAKE_ALPHABETS = tuple(_RUNS)
_WAYS = 20
_DRAWERS = 8


def lake_runs(pool: ClassPool) -> tuple[ClassPool, Draw]:
    """The 200 characters of the trials, and the 20 runs as episodes of 20 ways, 1 shot, 1 query over them.

    Raises:
        DataError: if the pool lacks one of these characters, or one of their first 8 drawings.
    """
    wanted = [_name(alphabet, number) for alphabet, (numbers, _) in _RUNS.items() for number in numbers]
    drawn = dict(zip(pool.names, pool.sizes.tolist(), strict=True))
    missing = [name for name in wanted if drawn.get(name, 0) < _DRAWERS]
    if missing:
        raise DataError(
            f"these data lack drawings of {missing[0]!r}, which is in the trials: give all of Omniglot"
        )
    place = {name: c for c, name in enumerate(pool.names)}
    tried = pool.subset(place[name] for name in wanted)
    classes = np.arange(len(wanted)).reshape(len(_RUNS), _WAYS).repeat(2, 0)
    drawers = np.array([run for _, runs in _RUNS.values() for run in runs])
    images = tried.starts[classes][..., None] + drawers[:, None] - 1
    return tried, Draw(classes, images, np.zeros_like(classes))


def _name(alphabet: str, number: int) -> str:
    return f"{alphabet}/character{number:02d}"
