"""Letters in fonts: the same classes in many renderings, so that a task is a domain."""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from string import ascii_uppercase

import numpy as np
import torch
from HersheyFonts import HersheyFonts
from numpy.typing import NDArray

from fphi.errors import DataError
from fphi.ranges import SEED, Range, checked
from fphi.tasks.cache import cached_pool
from fphi.tasks.distribution import TaskDistribution
from fphi.tasks.hashing import stream_key, task_indices, uniform
from fphi.tasks.hershey import DRAWERS, draw_class
from fphi.tasks.pool import ClassPool
from fphi.tasks.types import Examples, Task

__all__ = ["FONTS", "FontTasks", "load_letters"]

FONTS: Mapping[str, tuple[str, ...]] = {
    "train": (
        *("futural", "futuram", "rowmans", "rowmand", "rowmant"),
        *("timesr", "timesrb", "timesi", "timesib"),
    ),
    "validation": ("cursive", "scripts", "scriptc"),
    "test": ("gothgbt", "gothgrt", "gothiceng", "gothicger", "gothicita", "gothitt"),
}
"""The domains of each split: plain and serif letters, written ones, and blackletter, which is held out."""

_VERSION = "1"  # of the drawing, part of the cache key
_FIRST = 1_000_000  # of the numbers that random drawing depends on: other ones than those of `load_hershey`


class FontTasks(TaskDistribution):
    """Tell letters apart in a font: each task is one font, and its classes are the same letters in all.

    Label c is the c-th letter in every task: what differs from task to task is how letters look. One network
    trained on all fonts pooled is a solution too, unlike where labels are drawn anew for each task.

    Args:
        ways: letters, from A on.
        shots: support examples of each.
        queries: query examples of each; None: as many as ``shots``, at most 10.
        seed: task i of a split is a function of (seed, split, i).

    >>> FontTasks(ways=3, shots=2).task("test", 0).query.y.tolist()
    [0, 0, 1, 1, 2, 2]
    """

    protocol = "fonts"

    @checked(ways=Range(2, len(ascii_uppercase)), seed=SEED)
    def __init__(self, ways: int = 10, shots: int = 1, queries: int | None = None, seed: int = 0) -> None:
        self._ways, self._shots, self.seed = ways, shots, seed
        self.queries = min(shots, 10) if queries is None else queries
        if shots + self.queries > DRAWERS:
            raise DataError(
                f"{shots} shots and {self.queries} queries are {shots + self.queries} examples of a letter, "
                f"and each font has {DRAWERS}; ask for fewer"
            )
        self._pool = load_letters()
        self._images = torch.from_numpy(np.require(self._pool.images, requirements=["C", "W"]))

    @property
    def splits(self) -> tuple[str, ...]:
        """Training, validation and test."""
        return tuple(FONTS)

    @property
    def ways(self) -> int:
        """Letters of a task."""
        return self._ways

    @property
    def shots(self) -> int:
        """Support examples of each."""
        return self._shots

    @property
    def pooled_classes(self) -> int:
        """A letter has the same label in every task."""
        return self._ways

    def class_names(self, split: str, index: int) -> tuple[str, ...]:
        """Return the letters, with the font that they are of."""
        (font,) = self.fonts(split, [index])
        return tuple(f"{font}/{letter}" for letter in ascii_uppercase[: self.ways])

    def fonts(self, split: str, indices: Sequence[int]) -> tuple[str, ...]:
        """Return the font of each of these tasks."""
        names = _fonts_of(split)
        return tuple(names[place] for place in self._fonts(split, task_indices(indices)))

    def batch(self, split: str, indices: Sequence[int]) -> Task:
        """Return these tasks: support.x [B, ways*shots, 1, 28, 28], support.y [B, ways*shots], query too."""
        place = [_place(font) for font in _fonts_of(split)]
        wanted = task_indices(indices)
        fonts = np.array(place, dtype=np.int64)[self._fonts(split, wanted)]
        keys = uniform(stream_key(self.seed, split, "drawings"), wanted, self.ways * DRAWERS)
        drawings = keys.reshape(-1, self.ways, DRAWERS).argsort(2)[:, :, : self.shots + self.queries]
        letters = fonts[:, None] * len(ascii_uppercase) + np.arange(self.ways)
        rows = self._pool.starts[letters][..., None] + drawings
        return Task(*(self._examples(part) for part in np.split(rows, [self.shots], axis=2)))

    def _fonts(self, split: str, wanted: NDArray[np.int64]) -> NDArray[np.int64]:
        """Which of the split's fonts each task is."""
        u = uniform(stream_key(self.seed, split, "font"), wanted, 1)[:, 0]
        return np.minimum((u * len(FONTS[split])).astype(np.int64), len(FONTS[split]) - 1)

    def _examples(self, rows: NDArray[np.int64]) -> Examples:
        tasks, ways, each = rows.shape
        labels = torch.arange(ways).repeat_interleave(each).expand(tasks, -1).contiguous()
        x = self._images[torch.from_numpy(rows.reshape(tasks, -1))]
        return Examples(x.to(torch.float32).div_(255), labels)


def load_letters() -> ClassPool:
    """Return the 26 capital letters of each font by 20 simulated drawers, as `load_hershey` draws them.

    Groups are fonts, in the order of `FONTS`; names are "font/letter". Ink is 255.
    """
    key = f"{_VERSION}/{version('Hershey-Fonts')}"
    return cached_pool("hershey-letters-28", key, _draw_all)


def _fonts_of(split: str) -> tuple[str, ...]:
    if split not in FONTS:
        raise DataError(f"there is no split {split!r} here; there are: {', '.join(FONTS)}")
    return FONTS[split]


@cache
def _place(font: str) -> int:
    return _all_fonts().index(font)


def _all_fonts() -> tuple[str, ...]:
    return tuple(font for fonts in FONTS.values() for font in fonts)


def _draw_all() -> ClassPool:
    arrays, names, groups = [], [], []
    for place, font in enumerate(_all_fonts()):
        reader = HersheyFonts()
        reader.load_default_font(font)
        for number, letter in enumerate(ascii_uppercase):
            glyph = reader.all_glyphs[letter]
            strokes = tuple(tuple((int(x), int(y)) for x, y in stroke) for stroke in glyph.strokes if stroke)
            arrays.append(draw_class(strokes, _FIRST + place * len(ascii_uppercase) + number, 0))
            names.append(f"{font}/{letter}")
            groups.append(font)
    return ClassPool.from_classes(arrays, names, groups)
