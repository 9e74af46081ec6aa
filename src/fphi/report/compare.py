"""Paired comparison of methods on the same test tasks.

Tasks differ more than methods do. Subtracting task by task removes what the tasks share, so the
interval of the difference is far narrower than the intervals of the two accuracies suggest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from fphi.errors import FphiError
from fphi.report.tables import Table, percent, points

__all__ = ["Comparison", "TaskScores", "compare", "comparison_table", "of_same_tasks", "paired_difference"]

Kind = Literal["accuracy", "loss"]


@dataclass(frozen=True)
class TaskScores:
    """What one method reached on each test task.

    Attributes:
        name: of the method or run.
        values: ``[tasks]``: accuracies, fractions in 0..1, or losses; task i is the same for every method
            compared.
        settings: what fixes the tasks (protocol, ways, shots, queries, seed); what two methods both tell of
            it must agree.
        kind: what the values are.
    """

    name: str
    values: Tensor
    settings: Mapping[str, object] = field(default_factory=dict)
    kind: Kind = "accuracy"


@dataclass(frozen=True)
class Comparison:
    """One method minus another.

    Attributes:
        name: the method.
        reference: what is subtracted from it.
        own: the method's mean.
        mean: mean difference, a fraction or a loss.
        ci95: half width of its 95 % interval.
        tasks: how many both were tested on.
        kind: what was compared.
    """

    name: str
    reference: str
    own: float
    mean: float
    ci95: float
    tasks: int
    kind: Kind = "accuracy"

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


def of_same_tasks(scores: Sequence[TaskScores]) -> list[list[TaskScores]]:
    """Those that were tested on the tasks of another one, together with it; the first is compared with."""
    groups: list[list[TaskScores]] = []
    for one in scores:
        group = next((group for group in groups if _have_same_tasks(group[0], one)), None)
        groups.append([one]) if group is None else group.append(one)
    return [group for group in groups if len(group) > 1]


def comparison_table(comparisons: Sequence[Comparison]) -> Table:
    """One line per comparison; a difference of accuracies is in per cent points, ± 95 % interval.

    Accuracies and losses have a column each.
    """
    header = ("Method", "Accuracy", "Loss", "Against", "Difference", "Test tasks", "Clear")
    return Table(header, tuple(_line(c) for c in comparisons)).without_empty_columns()


def _line(c: Comparison) -> tuple[str, ...]:
    accuracy, loss = (percent(c.own), "") if c.kind == "accuracy" else ("", f"{c.own:.4f}")
    difference = points(c.mean, c.ci95) if c.kind == "accuracy" else _signed(c.mean, c.ci95)
    return (c.name, accuracy, loss, c.reference, difference, str(c.tasks), "yes" if c.clear else "no")


def _signed(difference: float, ci95: float) -> str:
    """A difference of losses, with a true minus sign."""
    return f"{difference:+.4f} ± {ci95:.4f}".replace("-", "−")


def _against(first: TaskScores, other: TaskScores) -> Comparison:
    mean, ci95 = paired_difference(first.values, other.values)
    own = float(other.values.double().mean())
    return Comparison(other.name, first.name, own, mean, ci95, len(other.values), other.kind)


def _have_same_tasks(first: TaskScores, other: TaskScores) -> bool:
    try:
        _check_same_tasks(first, other)
    except FphiError:
        return False
    return True


def _check_same_tasks(first: TaskScores, other: TaskScores) -> None:
    pair = f"{first.name} and {other.name}"
    if first.values.shape != other.values.shape:
        sizes = f"{len(first.values)} and {len(other.values)}"
        raise FphiError(f"{pair} were tested on {sizes} tasks; evaluate both on the same number")
    if len(first.values) < 2:
        raise FphiError(f"{pair} were tested on fewer than 2 tasks; an interval needs more")
    if first.kind != other.kind:
        raise FphiError(f"{pair} have {first.kind} and {other.kind}; compare runs of one kind")
    for key in sorted(first.settings.keys() & other.settings.keys()):
        values = (first.settings[key], other.settings[key])
        if values[0] != values[1]:
            message = f"{pair} were tested on different tasks: {key} is {values[0]} and {values[1]}"
            raise FphiError(f"{message}; evaluate both with the same {key}")
