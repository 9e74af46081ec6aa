"""Characters to begin with: strokes of the embedded data, which the page lets simulated drawers draw."""

from functools import cache

from HersheyFonts import HersheyFonts

__all__ = ["CODES", "FONT", "characters_to_draw"]

FONT = "japanese"
"""The embedded data's test characters: no learner of these was trained on them."""

CODES = (
    *(35, 38, 42, 47, 52, 55, 66, 71, 74, 78, 81, 84, 95, 104, 109, 124, 128, 134, 146, 149),
    *(152, 155, 158, 162, 165, 168, 171, 174, 177, 182, 186, 189, 193, 200, 203, 207, 211, 214, 217, 220),
)
"""Forty of them, evenly spread, that are neither a bare line nor take much room."""

_Stroke = tuple[tuple[int, int], ...]


@cache
def characters_to_draw() -> list[list[list[int]]]:
    """The strokes of each character: x, y, x, y, … from 0 to 100, y downwards.

    >>> drawn = characters_to_draw()
    >>> len(drawn), min(min(s) for c in drawn for s in c), max(max(s) for c in drawn for s in c)
    (40, 0, 100)
    """
    reader = HersheyFonts()
    reader.load_default_font(FONT)
    drawn = []
    for code in CODES:
        strokes = reader.all_glyphs[chr(code)].strokes
        drawn.append(_to_box([tuple((int(x), int(y)) for x, y in stroke) for stroke in strokes if stroke]))
    return drawn


def _to_box(strokes: list[_Stroke]) -> list[list[int]]:
    """Centred in a box of 100, which the longer side fills."""
    xs, ys = zip(*(point for stroke in strokes for point in stroke), strict=True)
    longer = max(max(xs) - min(xs), max(ys) - min(ys), 1)
    middle: list[float] = [(min(v) + max(v)) / 2 for v in (xs, ys)]

    def placed(value: int, axis: int) -> int:
        place: float = 50 + 100 * (value - middle[axis]) / longer
        return round(place)

    return [[placed(v, axis) for point in stroke for axis, v in enumerate(point)] for stroke in strokes]
