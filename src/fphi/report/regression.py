"""A picture of one task of regression: a curve, some of its points, and what was learned from these."""

from collections.abc import Mapping

from torch import Tensor

from fphi.errors import FphiError
from fphi.report.plots import COLOURS, INK, new_figure, style_axes, to_png
from fphi.tasks.types import Task

__all__ = ["draw_regression"]


def draw_regression(task: Task, predictions: Tensor | Mapping[str, Tensor]) -> bytes:
    """The curve through the query points, the support points, and the learner's answers, 1024 x 720 pixels.

    The more queries, the smoother the curves.

    Args:
        task: one task, no batch dimension: ``x`` and ``y`` are ``[n, 1]``.
        predictions: ``[Q, 1]``, the answers to the queries; or several of these by name, such as those
            before and after learning from the support set.

    Raises:
        FphiError: the task has more than one input or output, or the answers are not to its queries.
    """
    named = {"learned": predictions} if isinstance(predictions, Tensor) else predictions
    shape = task.query.y.shape
    if any(part.x.shape[1:] != (1,) or part.y.shape[1:] != (1,) for part in task):
        raise FphiError(f"a curve needs x and y of [n, 1], got y of {list(shape)}; draw another kind of task")
    for name, answers in named.items():
        if answers.shape != shape:
            problem = f"{name} has answers {list(answers.shape)} to queries {list(shape)}"
            raise FphiError(f"{problem}; give one to each")
    figure = new_figure(6.4, 4.5)
    figure.set_layout_engine("constrained")
    axes = figure.subplots()
    order = task.query.x[:, 0].argsort()
    x = task.query.x[order, 0].tolist()
    axes.plot(x, task.query.y[order, 0].tolist(), color="#AAAAAA", linewidth=3, label="true")
    for (name, answers), colour in zip(named.items(), COLOURS, strict=False):
        loss = float((answers - task.query.y).square().mean())
        drawn = answers.detach()[order, 0].tolist()
        axes.plot(x, drawn, color=colour, label=f"{name}, mean squared error {loss:.3f}")
    support = [column[:, 0].tolist() for column in task.support]
    axes.plot(*support, "o", color=INK, label=f"learns from {len(support[0])} points", zorder=3)
    style_axes(axes, "y", "x")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, labelcolor=INK, fontsize=8)
    return to_png(figure)
