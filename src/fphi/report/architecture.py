"""Pictures of architectures as PNG: the whole network, or its cells side by side."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from fphi.learnable.architecture import Graph
from fphi.report.layered import Layout, Place, layered
from fphi.report.plots import INK, new_figure, to_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_architecture"]

_ROW, _GAP, _TITLE, _EDGE = 0.42, 0.6, 0.45, 0.15  # inches
_NODE, _LINE = "#E8F1F8", "#0072B2"
_LONGEST = 160.0  # inches; what is longer is drawn smaller, since pixels have an end


def draw_architecture(graphs: Sequence[Graph]) -> bytes:
    """Layered drawings side by side, each under its title, from the inputs at the top to the outputs."""
    layouts = [layered(graph) for graph in graphs]
    widths = [max(layout.width, 1.2) for layout in layouts]
    width = sum(widths) + _GAP * (len(graphs) - 1) + 2 * _EDGE
    height = _TITLE + _ROW * max(layout.rows for layout in layouts) + _EDGE
    scale = min(1.0, _LONGEST / max(width, height))
    figure = new_figure(scale * width, scale * height)
    axes = figure.add_axes((0, 0, 1, 1))
    left = _EDGE
    for graph, layout, room in zip(graphs, layouts, widths, strict=True):
        axes.text(left + room / 2, 0.2, graph.title, ha="center", va="center", color=INK, fontsize=10 * scale)
        _draw(axes, layout, left + (room - layout.width) / 2, scale)
        left += room + _GAP
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    return to_png(figure)


def _draw(axes: Axes, layout: Layout, left: float, scale: float) -> None:
    for path in layout.paths:
        _arrow(axes, path, left, scale)
    for place in layout.places:
        if place.is_node or place.text:
            box = {
                "boxstyle": f"round,pad={0.35 if place.is_node else 0.1}",
                "facecolor": _NODE if place.is_node else "white",
                "edgecolor": _LINE if place.is_node else "white",
            }
            x, y = _at(place, left)
            axes.text(
                x, y, place.text, ha="center", va="center", color=INK, bbox=box, parse_math=False,
                fontsize=(8.5 if place.is_node else 7.5) * scale,
            )  # fmt: skip


def _at(place: Place, left: float) -> tuple[float, float]:
    return left + place.x, _TITLE + _ROW * (place.row + 0.5)


def _arrow(axes: Axes, path: list[Place], left: float, scale: float) -> None:
    """A smooth curve through the places, upright at both ends, and its head at the last."""
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    points = [_at(place, left) for place in path]
    x, y = points[-1]
    points[-1] = (x, y - 0.14)  # where the node's box begins
    slopes = [0.0, *((b[0] - a[0]) / (b[1] - a[1]) for a, b in zip(points, points[2:], strict=False)), 0.0]
    vertices, codes = [points[0]], [Path.MOVETO]
    for ((x0, y0), slope0), ((x1, y1), slope1) in pairwise(zip(points, slopes, strict=True)):
        third = (y1 - y0) / 3
        vertices += [(x0 + slope0 * third, y0 + third), (x1 - slope1 * third, y1 - third), (x1, y1)]
        codes += [Path.CURVE4] * 3
    axes.add_patch(
        FancyArrowPatch(
            path=Path(vertices, codes), arrowstyle="-|>", mutation_scale=8 * scale, color="#777777",
            linewidth=1.0 * scale, zorder=0,
        )
    )  # fmt: skip
