"""Paired comparison of methods on the same test tasks.

Tasks differ more than methods do. Subtracting task by task removes what the tasks share, so the
interval of the difference is far narrower than the intervals of the two accuracies suggest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from fphi.errors import FphiError
from fphi.report.tables import Table, percent, points

__all__ = ["Comparison", "TaskScores", "compare", "comparison_table", "paired_difference"]


@dataclass(frozen=True)
class TaskScores:
    """The accuracy of one method on each test task.

    Shapes: ``accuracy: [tasks]``, fractions in 0..1, task i the same for every method compared.
    ``settings`` is what fixes the tasks (protocol, ways, shots, queries, seed); it must agree.
    """

    name: str
    accuracy: Tensor
    settings: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """``name`` minus ``reference``: mean difference and half width of its 95 % interval, fractions."""

    name: str
    reference: str
    accuracy: float
    mean: float
    ci95: float
    tasks: int

    @property
    def clear(self) -> bool:
        """Whether 0 lies outside the interval."""
        return abs(self.mean) > self.ci95


def paired_difference(first: Tensor, second: Tensor) -> tuple[float, float]:
    """Mean of ``second - first`` over tasks and 1.96 * std / sqrt(n), std with n - 1.

    Shapes: both ``[tasks]``, at least two tasks.

    >>> from torch import tensor
    >>> mean, ci95 = paired_difference(tensor([0.0, 0.0, 0.0, 0.0]), tensor([0.0, 1.0, 0.0, 1.0]))
    >>> round(mean, 4), round(ci95, 4)  # std = sqrt(1/3), so 1.96 * sqrt(1/12)
    (0.5, 0.5658)
    """
    difference = second.double() - first.double()
    ci95 = 1.96 * difference.std(correction=1) / len(difference) ** 0.5
    return float(difference.mean()), float(ci95)


def compare(scores: Sequence[TaskScores]) -> list[Comparison]:
    """Every method against the first.

    Raises:
        FphiError: fewer than two methods or tasks, or the tasks are not the same ones.
    """
    if len(scores) < 2:
        raise FphiError(f"a comparison needs at least 2 evaluations, got {len(scores)}; give another one")
    first, *others = scores
    for other in others:
        _check_same_tasks(first, other)
    return [_against(first, other) for other in others]


def comparison_table(comparisons: Sequence[Comparison]) -> Table:
    """One line per comparison: accuracy, difference in per cent points ± 95 % interval."""
    header = ("Method", "Accuracy", "Against", "Difference", "Test tasks", "Clear")
    return Table(header, tuple(_line(c) for c in comparisons))


def _line(c: Comparison) -> tuple[str, ...]:
    verdict = "yes" if c.clear else "no"
    return (c.name, percent(c.accuracy), c.reference, points(c.mean, c.ci95), str(c.tasks), verdict)


def _against(first: TaskScores, other: TaskScores) -> Comparison:
    mean, ci95 = paired_difference(first.accuracy, other.accuracy)
    accuracy = float(other.accuracy.double().mean())
    return Comparison(other.name, first.name, accuracy, mean, ci95, len(other.accuracy))


def _check_same_tasks(first: TaskScores, other: TaskScores) -> None:
    pair = f"{first.name} and {other.name}"
    if first.accuracy.shape != other.accuracy.shape:
        sizes = f"{len(first.accuracy)} and {len(other.accuracy)}"
        raise FphiError(f"{pair} were tested on {sizes} tasks; evaluate both on the same number")
    if len(first.accuracy) < 2:
        raise FphiError(f"{pair} were tested on fewer than 2 tasks; an interval needs more")
    for key in sorted(first.settings.keys() | other.settings.keys()):
        values = (first.settings.get(key), other.settings.get(key))
        if values[0] != values[1]:
            message = f"{pair} were tested on different tasks: {key} is {values[0]} and {values[1]}"
            raise FphiError(f"{message}; evaluate both with the same {key}")
