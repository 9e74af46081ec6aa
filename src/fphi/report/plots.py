"""Plots as PNG bytes: learning curves, accuracy by inner step, and one task with its answers.

Colours are those of Okabe and Ito, which stay apart in every common form of colour blindness;
nothing is said by colour alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fphi.errors import FphiError
from fphi.report.files import StepRecord
from fphi.tasks.types import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "COLOURS",
    "INK",
    "MARKERS",
    "Answer",
    "Episode",
    "accuracy_by_step",
    "class_name",
    "draw_episode",
    "learning_curve",
    "moving_average",
    "new_figure",
    "style_axes",
    "to_png",
]

DPI = 160
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX"
_RIGHT, _WRONG = "#0072B2", "#D55E00"
INK, _GRID = "#333333", "#DDDDDD"


def new_figure(width: float, height: float) -> Figure:
    """A figure of its own, without pyplot: no global state, no window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def to_png(figure: Figure) -> bytes:
    from matplotlib.text import Text

    buffer = BytesIO()
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_parse_math(False)  # a name with $ in it is no formula
    with warnings.catch_warnings():  # a class name in a script that the font lacks is drawn as boxes
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def style_axes(axes: Axes, ylabel: str, xlabel: str = "") -> None:
    """Quiet axes: a grid behind, no frame, no ticks."""
    axes.set_ylabel(ylabel, color=INK)
    axes.set_xlabel(xlabel, color=INK)
    axes.grid(color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color("#999999")


def moving_average(values: Sequence[float], width: int) -> NDArray[np.float64]:
    """The mean of each value and its neighbours up to ``width // 2`` away, fewer at the ends.

    >>> moving_average([0.0, 3.0, 6.0, 0.0], width=3).tolist()
    [1.5, 3.0, 3.0, 3.0]
    """
    sums = np.concatenate([[0.0], np.cumsum(np.asarray(values, dtype=np.float64))])
    here = np.arange(len(values))
    start = np.maximum(here - width // 2, 0)
    stop = np.minimum(here + width // 2 + 1, len(values))
    mean: NDArray[np.float64] = (sums[stop] - sums[start]) / (stop - start)
    return mean


def learning_curve(logs: Mapping[str, Sequence[Mapping[str, str]]]) -> bytes:
    """Training loss and validation accuracy (loss in regression) over meta-steps, 1024 x 896 pixels.

    ``logs`` maps a run's name to the rows of its ``log.csv``; empty cells are not drawn. The loss of
    single meta-steps is drawn faint, its moving average over a 30th of the run on top.
    """
    figure = new_figure(6.4, 5.6)
    figure.set_layout_engine("constrained")
    training, validation = figure.subplots(2, 1, sharex=True)
    classifies = any(row.get("validation_accuracy") for rows in logs.values() for row in rows)
    column, scale = ("validation_accuracy", 100) if classifies else ("validation_loss", 1)
    for (name, rows), colour, marker in zip(logs.items(), cycle(COLOURS), cycle(MARKERS), strict=False):
        steps, losses = _column(rows, "train_loss")
        training.plot(steps, losses, color=colour, alpha=0.25, linewidth=0.8)
        training.plot(steps, moving_average(losses, max(1, len(losses) // 30)), color=colour, label=name)
        steps, values = _column(rows, column)
        scaled = [scale * value for value in values]
        validation.plot(steps, scaled, color=colour, marker=marker, markersize=4, label=name)
    style_axes(training, "training loss")
    style_axes(validation, "validation accuracy (%)" if classifies else "validation loss", "meta-steps")
    if len(logs) > 1:
        validation.legend(frameon=False, labelcolor=INK)
    return to_png(figure)


def _column(rows: Iterable[Mapping[str, str]], name: str) -> tuple[list[int], list[float]]:
    """Steps and values where the cell is filled."""
    filled = [(int(row["step"]), float(row[name])) for row in rows if row.get(name)]
    return [step for step, _ in filled], [value for _, value in filled]


def accuracy_by_step(curves: Mapping[str, Sequence[StepRecord]], chance: float | None = None) -> bytes:
    """Query accuracy after each inner step on test tasks, 1024 x 608 pixels.

    Methods without steps or without accuracies (regression) are left out. ``chance`` is 1 / ways,
    drawn dotted.
    """
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(6.4, 3.8)
    figure.set_layout_engine("constrained")
    axes = figure.subplots()
    drawn = {name: steps for name, steps in curves.items() if steps and "accuracy" in steps[0]}
    for (name, steps), colour, marker in zip(drawn.items(), cycle(COLOURS), cycle(MARKERS), strict=False):
        percents = [100 * record["accuracy"] for record in steps]
        axes.plot([r["step"] for r in steps], percents, color=colour, marker=marker, markersize=5, label=name)
    if chance is not None:
        axes.axhline(100 * chance, color="#777777", linestyle=":", label="chance")
    style_axes(axes, "query accuracy (%)", "inner steps on the support set")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(axes.lines) > 1:
        axes.legend(frameon=False, labelcolor=INK)
    return to_png(figure)


def class_name(label: int, names: Sequence[str], longest: int) -> str:
    """The name of a class, cut to what fits; "class 0", "class 1", ... where there are no names.

    >>> class_name(0, ["a long name"], 6), class_name(1, [], 9)
    ('a lon…', 'class 1')
    """
    name = names[label] if names else f"class {label}"
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


@dataclass(frozen=True)
class Answer:
    """What the learner said about one query image; ``query`` is its place in the query set."""

    query: int
    truth: int
    predicted: int

    @property
    def right(self) -> bool:
        """Whether the prediction is the true class."""
        return self.truth == self.predicted

    @property
    def symbol(self) -> str:
        """A check mark or a cross: the verdict without colour."""
        return "✓" if self.right else "✗"


@dataclass(frozen=True)
class Episode:
    """One task (no batch dimension, images) and the learner's predictions on its query set.

    Shapes: ``task.support.x: [n, C, H, W]`` with C = 1 or 3, ``predictions: [Q, ways]`` (scores).
    ``names`` are the classes 0..ways-1, "class 0", "class 1", ... where not given.
    """

    task: Task
    predictions: Tensor
    names: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Reject what cannot be drawn."""
        x, y = self.task.query
        if x.ndim != 4 or x.shape[1] not in (1, 3):
            raise FphiError(f"a drawing needs images [n, 1 or 3, H, W], got {list(x.shape)}; pass one task")
        if self.predictions.ndim != 2 or len(self.predictions) != len(y):
            shape = list(self.predictions.shape)
            raise FphiError(f"{len(y)} query images need predictions [{len(y)}, ways], got {shape}")

    @property
    def answers(self) -> list[Answer]:
        """One answer per query image, in the order of the query set."""
        predicted = self.predictions.argmax(1).tolist()
        pairs = zip(self.task.query.y.tolist(), predicted, strict=True)
        return [Answer(query, *pair) for query, pair in enumerate(pairs)]

    @property
    def classes(self) -> list[int]:
        """The classes of the support set, ascending: the rows of the drawing."""
        return sorted(set(self.task.support.y.tolist()))

    def name(self, label: int, longest: int = 14) -> str:
        """The class's name, cut to what fits."""
        return class_name(label, self.names, longest)

    @property
    def summary(self) -> str:
        """The picture in words, for its alternative text; it lists the first five errors."""
        wrong = [
            f"{self.name(a.truth)} taken for {self.name(a.predicted)}" for a in self.answers if not a.right
        ]
        total = len(self.answers)
        text = f"{total - len(wrong)} of {total} query images answered correctly"
        listed = wrong[:5] + ([f"and {len(wrong) - 5} more"] if len(wrong) > 5 else [])
        return f"{text}; {', '.join(listed)}" if wrong else text


# In cells of one image, but _INCHES are of a cell.
_LABEL, _GAP, _ROW, _HEAD, _FOOT, _INCHES = 1.5, 0.7, 1.4, 0.6, 0.5, 0.75


def draw_episode(episode: Episode, max_shots: int = 5, max_queries: int = 5) -> bytes:
    """One row per class: its name, its support images, then its query images with the answers.

    A right answer has a blue frame and ✓, a wrong one an orange frame and ✗; a line below says so.
    At most ``max_shots`` and ``max_queries`` images a class are drawn. 120 pixels per image.
    """
    shots = {label: _where(episode.task.support.y, label)[:max_shots] for label in episode.classes}
    asked = {label: _where(episode.task.query.y, label)[:max_queries] for label in episode.classes}
    first = _LABEL + max(len(s) for s in shots.values()) + _GAP
    width = first + max(2, *(len(q) for q in asked.values())) * 1.15 + 0.2  # 2: room for the heading
    height = _HEAD + _ROW * len(shots) + _FOOT
    figure = new_figure(width * _INCHES, height * _INCHES)
    axes = figure.add_axes((0, 0, 1, 1))
    _write(axes, _LABEL, 0.3, "learns from", align="left")
    _write(axes, first, 0.3, "is asked, and answers", align="left")
    answers = episode.answers
    for row, label in enumerate(episode.classes):
        top = _HEAD + _ROW * row
        _write(axes, _LABEL - 0.2, top + 0.5, episode.name(label), align="right")
        for column, index in enumerate(shots[label]):
            _image(axes, episode.task.support.x[index], _LABEL + column, top, frame="#BBBBBB", line=1)
        for column, index in enumerate(asked[label]):
            left = first + 1.15 * column
            _image(axes, episode.task.query.x[index], left, top, frame=_verdict(answers[index]), line=3)
            said = f"{answers[index].symbol} {episode.name(answers[index].predicted, 10)}"
            _write(axes, left + 0.46, top + 1.1, said, _verdict(answers[index]), size=8)
    _write(axes, _LABEL, height - 0.3, "✓ right", _RIGHT, align="left", size=8)
    _write(axes, _LABEL + 0.85, height - 0.3, "✗ wrong: what it was taken for", _WRONG, align="left", size=8)
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    return to_png(figure)


def _where(labels: Tensor, label: int) -> list[int]:
    return [i for i, y in enumerate(labels.tolist()) if y == label]


def _verdict(answer: Answer) -> str:
    return _RIGHT if answer.right else _WRONG


def _write(
    axes: Axes, x: float, y: float, text: str, colour: str = INK, *, align: str = "center", size: float = 9
) -> None:
    axes.text(x, y, text, color=colour, ha=align, va="center", fontsize=size, parse_math=False)


def _image(axes: Axes, image: Tensor, left: float, top: float, *, frame: str, line: float) -> None:
    """One image ``[C, H, W]`` in a frame; its own least value is black and its greatest white."""
    from matplotlib.patches import Rectangle

    pixels = image.detach().cpu().double()
    pixels = (pixels - pixels.min()) / (pixels.max() - pixels.min()).clamp_min(1e-12)
    shown = pixels.expand(3, -1, -1).permute(1, 2, 0).numpy()
    axes.imshow(shown, extent=(left, left + 0.92, top + 0.92, top), interpolation="nearest", aspect="auto")
    axes.add_patch(Rectangle((left, top), 0.92, 0.92, fill=False, edgecolor=frame, linewidth=line))
