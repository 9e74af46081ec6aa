"""Panels of curves in one picture: what experiments measured, as PNG bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fphi.errors import FphiError
from fphi.report.plots import COLOURS, INK, MARKERS, new_figure, style_axes, to_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Curve", "Panel", "draw_panels"]

_WIDTH, _HEIGHT = 4.6, 3.6  # of a panel, in inches
_REFERENCES = ("--", ":", "-.")
_FEW = 5  # places that are all named


@dataclass(frozen=True)
class Curve:
    """Values over a number, with how sure they are where that is known.

    Args:
        x: where.
        y: the values.
        spread: half the width of the band, or of the bar, around each value; empty: none is drawn.
        line: "line", "points" that are not joined, or "both".
    """

    x: Sequence[float]
    y: Sequence[float]
    spread: Sequence[float] = ()
    line: str = "both"

    def __post_init__(self) -> None:
        """Refuse what is not of one length."""
        if len(self.x) != len(self.y) or len(self.spread) not in (0, len(self.y)):
            raise FphiError(
                f"a curve has {len(self.x)} places, {len(self.y)} values and {len(self.spread)} spreads; "
                "give as many of each"
            )


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Args:
        title: above it.
        xlabel: below it.
        ylabel: beside it.
        curves: by the names that the legend has; each panel gives a name the colour of its place.
        references: values that curves are to be compared with, by name: horizontal lines.
        ticks: names of the places 0, 1, … where these are no numbers.
        log: axes that are logarithmic, "", "x", "y" or "xy".
        limits: of the vertical axis, the upper one None where the values decide it; None: they decide both.
    """

    title: str
    xlabel: str
    ylabel: str
    curves: Mapping[str, Curve]
    references: Mapping[str, float] = field(default_factory=dict)
    ticks: Sequence[str] = ()
    log: str = ""
    limits: tuple[float, float | None] | None = None


def draw_panels(panels: Sequence[Panel], columns: int = 3) -> bytes:
    """The panels side by side, at most ``columns`` in a row; 736 x 576 pixels each.

    Raises:
        FphiError: there is none.
    """
    if not panels:
        raise FphiError("there is no panel to draw; give at least one")
    across = min(columns, len(panels))
    down = -(-len(panels) // across)
    figure = new_figure(_WIDTH * across, _HEIGHT * down)
    figure.set_layout_engine("constrained")
    grid = figure.subplots(down, across, squeeze=False).flat
    for axes, panel in zip(grid, panels, strict=False):
        _draw(axes, panel)
    for axes in list(grid)[len(panels) :]:
        axes.set_axis_off()
    return to_png(figure)


def _draw(axes: Axes, panel: Panel) -> None:
    for place, (name, curve) in enumerate(panel.curves.items()):
        colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
        style: dict[str, Any] = {
            "color": colour,
            "label": name,
            "linestyle": "none" if curve.line == "points" else "-",
            "marker": "" if curve.line == "line" else marker,
            "markersize": 4,
        }
        if curve.spread and curve.line == "points":
            axes.errorbar(curve.x, curve.y, curve.spread, capsize=3, **style)
            continue
        axes.plot(curve.x, curve.y, **style)
        if curve.spread:
            low, high = ([y + s * d for y, d in zip(curve.y, curve.spread, strict=True)] for s in (-1, 1))
            axes.fill_between(curve.x, low, high, color=colour, alpha=0.15, linewidth=0)
    for place, (name, value) in enumerate(panel.references.items()):
        axes.axhline(value, color="#777777", linestyle=_REFERENCES[place % 3], label=name)
    style_axes(axes, panel.ylabel, panel.xlabel)
    _scale(axes, panel)
    if panel.ticks:
        axes.set_xticks(range(len(panel.ticks)), panel.ticks)
        axes.set_xlim(-0.5, len(panel.ticks) - 0.5)
    if panel.limits is not None:
        axes.set_ylim(*panel.limits)
    _name(axes, panel)


def _name(axes: Axes, panel: Panel) -> None:
    """The title, and below it a legend where there is more than one thing: inside it would hide some."""
    if len(panel.curves) + len(panel.references) < 2:
        axes.set_title(panel.title, color=INK, fontsize=10)
        return
    above: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "borderaxespad": 0.2}
    legend = axes.legend(ncols=2, frameon=False, labelcolor=INK, fontsize=8, title=panel.title, **above)
    legend.get_title().set(color=INK, fontsize=10)


def _scale(axes: Axes, panel: Panel) -> None:
    """Logarithmic where it is asked for, with plain numbers beside; places are those of the curves if few."""
    from matplotlib.ticker import FormatStrFormatter, NullFormatter

    for name, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
        if name in panel.log:
            axes.set(**{f"{name}scale": "log"})
            axis.set_major_formatter(FormatStrFormatter("%g"))
            axis.set_minor_formatter(NullFormatter())
    places = sorted({float(x) for curve in panel.curves.values() for x in curve.x})
    if "x" in panel.log and len(places) <= _FEW:
        axes.set_xticks(places)
