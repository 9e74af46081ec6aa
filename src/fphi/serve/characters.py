"""Characters to begin with: strokes of the embedded data, which the page lets simulated drawers draw."""

from functools import cache

from fphi.tasks.hershey import characters

__all__ = ["characters_to_draw"]

_FONT = "japanese"  # the embedded data's test characters: no learner of these was trained on them
_COUNT = 40
_POINTS = range(12, 41)  # neither a bare line nor a drawing that takes much room


@cache
def characters_to_draw() -> list[list[list[int]]]:
    """The strokes of each character: x, y, x, y, … from 0 to 100, y downwards.

    >>> drawn = characters_to_draw()
    >>> len(drawn), min(min(s) for c in drawn for s in c), max(max(s) for c in drawn for s in c)
    (40, 0, 100)
    """
    named = sorted((code, strokes) for strokes, (font, code) in characters().items() if font == _FONT)
    fitting = [strokes for _, strokes in named if sum(map(len, strokes)) in _POINTS]
    chosen = [fitting[i * len(fitting) // _COUNT] for i in range(_COUNT)]
    return [_to_box(strokes) for strokes in chosen]


def _to_box(strokes: tuple[tuple[tuple[int, int], ...], ...]) -> list[list[int]]:
    """Centred in a box of 100, which the longer side fills."""
    xs, ys = zip(*(point for stroke in strokes for point in stroke), strict=True)
    longer = max(max(xs) - min(xs), max(ys) - min(ys), 1)
    middle: list[float] = [(min(v) + max(v)) / 2 for v in (xs, ys)]

    def placed(value: int, axis: int) -> int:
        place: float = 50 + 100 * (value - middle[axis]) / longer
        return round(place)

    return [[placed(v, axis) for point in stroke for axis, v in enumerate(point)] for stroke in strokes]
