"""Stroke characters that need no download, drawn by simulated drawers: a stand-in for Omniglot.

The strokes are those of the Hershey fonts (A. V. Hershey, Naval Weapons Laboratory, 1967), as the PyPI
package Hershey-Fonts carries them: 1,240 distinct characters in 32 fonts. Numbers to quote come from
Omniglot; these characters serve first steps and tests.

Splits are whole scripts, since one letter looks alike in many fonts. All fonts of Latin, Greek and
Cyrillic letters, with digits and punctuation, train (these scripts share shapes: A, B, E, O); symbols
validate; Japanese tests. A glyph that a symbol font shares with a font of letters counts as the
letter, and so do the few symbols that are letters or brackets in another hand, listed in LETTERLIKE.
"""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from math import pi

import numpy as np
from HersheyFonts import HersheyFonts
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fphi.tasks.cache import cached_pool
from fphi.tasks.hashing import stream_key, uniform
from fphi.tasks.pool import ClassPool

__all__ = ["DRAWERS", "LETTERLIKE", "SPLIT_OF_SCRIPT", "characters", "draw_class", "load_hershey"]

DRAWERS = 20
SIZE = 28

_FINE = 2
"""Drawn this many times larger, then averaged down."""
_BODY = 18.0
"""Pixels that the longer side of a character fills before it is distorted."""
_SMALLEST = 14.0
"""Font units; a smaller character (a full stop) is drawn small, not blown up."""
_VERSION = "1"
"""Part of the cache key: raise it when the drawing changes."""

_SYMBOLS = ("astrology", "markers", "mathlow", "mathupp", "meteorology", "music", "symbolic")
_LETTERS = (
    *("futural", "cursive", "futuram", "rowmand", "rowmans", "rowmant", "scriptc", "scripts"),
    *("gothgbt", "gothgrt", "gothiceng", "gothicger", "gothicita", "gothitt"),
    *("timesi", "timesib", "timesr", "timesrb", "greek", "greekc", "greeks", "timesg"),
    *("cyrilc_1", "cyrillic"),
)
_OWN_GROUP = "letterlike"

LETTERLIKE: Mapping[str, str] = {
    "astrology": ">_",  # like omega
    "markers": "AGH",  # like O, plus, times
    "mathlow": ":;derstu",  # Pi, Sigma, like C and U, brackets
    "meteorology": "#(`",  # like asterisk, Lambda, tilde
    "symbolic": "!\"#$'*+,-.45xyz{|}",  # bare lines, brackets, ligatures, long s
}
"""Glyphs of symbol fonts that have the shape of a letter, a bracket or another common character."""

SPLIT_OF_SCRIPT: Mapping[str, str] = {
    **dict.fromkeys((*_LETTERS, _OWN_GROUP), "train"),
    **dict.fromkeys(_SYMBOLS, "validation"),
    "japanese": "test",
}
"""The split of each group (font)."""

Strokes = tuple[tuple[tuple[int, int], ...], ...]


@cache
def characters() -> dict[Strokes, tuple[str, str]]:
    """Return the distinct characters: strokes (font units, y downwards) to (font, code).

    A character that several fonts have is listed once, under the first; fonts of letters come first.
    """
    found: dict[Strokes, tuple[str, str]] = {}
    for font in (*_LETTERS, "japanese", *_SYMBOLS):
        reader = HersheyFonts()
        reader.load_default_font(font)
        for code, glyph in reader.all_glyphs.items():
            strokes = tuple(tuple((int(x), int(y)) for x, y in stroke) for stroke in glyph.strokes if stroke)
            if strokes:
                found.setdefault(strokes, (font, code))
    return found


def load_hershey(seed: int = 0) -> ClassPool:
    """Return the 1,240 characters by 20 simulated drawers: uint8 [24800, 1, 28, 28], ink 255.

    A drawer has a slant, a size and a pen; every drawing adds its own turn, shift and wobble. The
    images are a function of the seed. Groups are fonts; names are "font/code", the code as a number.
    """
    key = f"{_VERSION}/{version('Hershey-Fonts')}/{seed}"
    return cached_pool("hershey-28", key, lambda: _draw_all(seed))


def _draw_all(seed: int) -> ClassPool:
    items = sorted((font, ord(code), strokes) for strokes, (font, code) in characters().items())
    arrays = [draw_class(strokes, number, seed) for number, (_, _, strokes) in enumerate(items)]
    groups = [_OWN_GROUP if chr(code) in LETTERLIKE.get(font, "") else font for font, code, _ in items]
    return ClassPool.from_classes(arrays, [f"{font}/{code:03d}" for font, code, _ in items], groups)


def draw_class(strokes: Strokes, number: int, seed: int) -> NDArray[np.uint8]:
    """Draw one character by all drawers: [20, 1, 28, 28]."""
    points = np.concatenate([np.array(stroke, dtype=np.float64) for stroke in strokes])
    ends = np.cumsum([len(stroke) for stroke in strokes])
    drawings, pens = _distort(
        points, np.repeat(np.arange(len(strokes)), np.diff(ends, prepend=0)), number, seed
    )
    images = [_ink(np.split(d, ends[:-1]), pen) for d, pen in zip(drawings, pens.tolist(), strict=True)]
    return np.stack(images)[:, None]


def _distort(
    points: NDArray[np.float64], stroke_of: NDArray[np.int64], number: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each drawer's version of the points, [20, P, 2] in fine pixels, and pen widths [20]."""
    low, high = points.min(axis=0), points.max(axis=0)
    unit = (points - (low + high) / 2) / max(*(high - low), _SMALLEST)  # in -1/2..1/2
    drawers = np.arange(DRAWERS)
    habit = 2 * uniform(stream_key(seed, "hershey", "drawer"), drawers, 4) - 1
    own = 2 * uniform(stream_key(seed, "hershey", "drawing"), number * DRAWERS + drawers, 12) - 1
    affine = _affine(slant=0.20 * habit[:, 0] + 0.10 * own[:, 0], turn=0.20 * own[:, 1], size=own[:, 2:4])
    drawn = np.einsum("dij,dpj->dpi", affine, unit + _wobble(unit, own[:, 4:10]))
    drawn *= (1 + 0.10 * habit[:, 1])[:, None, None]
    shift = 2.0 * own[:, None, 10:12] + _stroke_shift(number, stroke_of, seed)
    pens = np.round(_FINE * (1.5 + 0.5 * habit[:, 2]))
    return _FINE * (_BODY * drawn + shift + SIZE / 2), pens


def _affine(
    slant: NDArray[np.float64], turn: NDArray[np.float64], size: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return rotation times shear times scaling, [n, 2, 2]."""
    cos, sin, width, height = np.cos(turn), np.sin(turn), 1 + 0.20 * size[:, 0], 1 + 0.20 * size[:, 1]
    rotation = np.stack([cos, -sin, sin, cos], axis=-1).reshape(-1, 2, 2)
    sheared = np.stack([width, -slant * height, 0 * slant, height], axis=-1).reshape(-1, 2, 2)
    return np.asarray(rotation @ sheared)


def _wobble(unit: NDArray[np.float64], own: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a smooth displacement, [n, P, 2]: strokes bend and still meet where they met."""
    direction, phase = 3 + 2 * own[:, None, 0:2], pi * own[:, None, 2:4]
    across = unit[None, :, ::-1]
    return np.asarray(0.10 * own[:, None, 4:6] * np.sin(direction * across * pi / 2 + phase))


def _stroke_shift(number: int, stroke_of: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
    """Return a small shift of each stroke by itself, in pixels: [20, P, 2]."""
    count = int(stroke_of.max()) + 1
    index = number * DRAWERS + np.arange(DRAWERS)
    u = uniform(stream_key(seed, "hershey", "strokes"), index, 2 * count).reshape(DRAWERS, count, 2)
    return np.asarray(1.6 * (u - 0.5)[:, stroke_of])


def _ink(strokes: list[NDArray[np.float64]], pen: float) -> NDArray[np.uint8]:
    """Draw polylines with a round-ended pen and average down: [28, 28], ink 255."""
    image = Image.new("L", (_FINE * SIZE, _FINE * SIZE))
    radius = (pen - 1) / 2
    draw = ImageDraw.Draw(image)
    for stroke in strokes:
        path = [tuple(p) for p in stroke.tolist()]
        if len(path) > 1:
            draw.line(path, fill=255, width=int(pen))
        for x, y in (path[0], path[-1]):
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return np.asarray(image.reduce(_FINE))
