"""Panels of curves: how many there are decides the picture's size, and what does not fit is refused."""

from io import BytesIO

import pytest
from PIL import Image

from fphi.errors import FphiError
from fphi.report.panels import Curve, Panel, draw_panels

LINE = Curve([1, 10, 100], [3.0, 2.0, 1.0], [0.1, 0.2, 0.3])
POINTS = Curve([0, 1], [5.0, 6.0], [1.0, 1.0], line="points")


def size(png: bytes) -> tuple[int, int]:
    return Image.open(BytesIO(png)).size


def test_a_row_holds_three_panels_or_as_many_as_are_asked_for() -> None:
    panel = Panel("title", "x", "y", {"a $name": LINE, "b": LINE}, {"chance": 2.0}, log="xy")
    marked = Panel("", "", "", {"c": POINTS}, ticks=("one", "two"), limits=(0, None))
    assert size(draw_panels([panel, marked] * 2)) == (3 * 736, 2 * 576)
    assert size(draw_panels([panel, marked], columns=1)) == (736, 2 * 576)


def test_equal_panels_are_equal_pictures_and_others_are_not() -> None:
    def picture(curve: Curve) -> bytes:
        return draw_panels([Panel("title", "x", "y", {"a": curve})])

    assert picture(LINE) == picture(LINE)
    assert picture(LINE) != picture(Curve(LINE.x, LINE.y))


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(FphiError, match="a curve has 2 places, 1 values and 0 spreads"):
        Curve([1, 2], [1])
    with pytest.raises(FphiError, match="a curve has 1 places, 1 values and 2 spreads"):
        Curve([1], [1], [1, 2])
    with pytest.raises(FphiError, match="no panel"):
        draw_panels([])
