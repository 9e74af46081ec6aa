"""How a search went, beside random search: the best so far, and the mean of what it tried, as PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fphi.report.plots import COLOURS, INK, MARKERS, moving_average, new_figure, style_axes, to_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["epoch_curves", "search_curves"]

# As in history.csv: a number, its text, or nothing.
_Rows = Sequence[Mapping[str, float | str | None]]


def search_curves(histories: Mapping[str, _Rows]) -> bytes:
    """Validation accuracy over evaluations, 1024 x 896 pixels.

    Above, that of each candidate, faint, and of the best so far. Below, the mean of the population where
    there is one, or the moving average over an eighth of the evaluations.

    Args:
        histories: rows of `history.csv` by the name of the search.
    """
    figure = new_figure(6.4, 5.6)
    figure.set_layout_engine("constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    for (name, rows), colour, marker in zip(histories.items(), COLOURS, MARKERS, strict=False):
        _best_so_far(above, name, rows, colour, marker)
        numbers = list(range(1, len(rows) + 1))
        losses = _column(rows, "population_loss")
        if len(losses) == len(rows):
            means, label = [_accuracy(loss) for loss in losses], f"{name}, population"
        else:
            width = max(2, len(rows) // 8)
            accuracies = [_accuracy(loss) for loss in _column(rows, "loss")]
            means, label = moving_average(accuracies, width).tolist(), f"{name}, mean of {width} neighbours"
        below.plot(numbers, means, color=colour, label=label)
    style_axes(above, "validation accuracy (%)")
    style_axes(below, "mean of what is tried (%)", "evaluations")
    for axes in (above, below):
        _legend(axes)
    return to_png(figure)


def epoch_curves(name: str, rows: _Rows, derived: float, control: _Rows) -> bytes:
    """A search in a supernet, and random search beside it, 1024 x 896 pixels.

    Above, the rows of the supernet's epochs that are accuracies; below, the best of random search, and
    what the derived architecture reaches when it is trained alone as random search's were.

    Args:
        name: of the search.
        rows: numbers by name, one row for each epoch.
        derived: validation accuracy of the derived architecture on its own.
        control: rows of random search's history; empty: there is none.
    """
    figure = new_figure(6.4, 5.6)
    figure.set_layout_engine("constrained")
    above, below = figure.subplots(2, 1)
    columns = [column for column in rows[0] if column == "reward" or column.endswith("accuracy")]
    epochs = _column(rows, "epoch")
    for column, colour, marker in zip(columns, COLOURS, MARKERS, strict=False):
        percents = [100 * value for value in _column(rows, column)]
        above.plot(
            epochs, percents, color=colour, marker=marker, markersize=3, label=column.replace("_", " ")
        )
    if control:
        _best_so_far(below, "random search", control, COLOURS[1], MARKERS[1])
    below.axhline(100 * derived, color=COLOURS[0], label=f"{name}, derived architecture")
    style_axes(above, "with shared weights (%)", "epochs of the supernet")
    style_axes(below, "trained alone, validation (%)", "evaluations of random search")
    for axes in (above, below):
        _legend(axes)
    return to_png(figure)


def _best_so_far(axes: Axes, name: str, rows: _Rows, colour: str, marker: str) -> None:
    numbers = list(range(1, len(rows) + 1))
    axes.scatter(
        numbers,
        [_accuracy(loss) for loss in _column(rows, "loss")],
        color=colour,
        alpha=0.3,
        s=12,
        marker=marker,
    )
    best = [_accuracy(loss) for loss in _column(rows, "best")]
    axes.step(numbers, best, where="post", color=colour, label=f"{name}, best")


def _legend(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, labelcolor=INK, fontsize=8)


def _column(rows: _Rows, name: str) -> list[float]:
    """The values where the cell is filled."""
    values = [row.get(name) for row in rows]
    return [float(value) for value in values if value not in (None, "")]


def _accuracy(loss: float) -> float:
    """In per cent."""
    return 100 * (1 - loss)
