"""What came of runs that differ in their seed alone: every one of them, and their mean."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any

from fphi.report.tables import Table, points

__all__ = ["LESS", "SeedRun", "SeedRuns", "shown"]


LESS = " less "
"""In the name of a number that is the difference of two accuracies of one run."""


@dataclass(frozen=True)
class SeedRun:
    """One of the runs.

    Args:
        seed: its own.
        numbers: what it came to, by name; accuracies are fractions.
        failure: why it has none.
    """

    seed: int
    numbers: Mapping[str, float]
    failure: str = ""


@dataclass(frozen=True)
class SeedRuns:
    """All of them.

    Args:
        method: as it was named.
        runs: those that have ended, by their seeds.
        stopped: whether a signal asked for a pause; those that are left go on with ``--resume``.
    """

    method: str
    runs: tuple[SeedRun, ...]
    stopped: bool = False

    @property
    def ended(self) -> int:
        """How many came to their end; the others failed."""
        return sum(not run.failure for run in self.runs)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the numbers."""
        return tuple(dict.fromkeys(name for run in self.runs for name in run.numbers))

    def interval(self, name: str) -> tuple[float, float]:
        """Mean over the seeds, and half the width of its 95 % interval (Student's t); inf of a single one.

        >>> runs = SeedRuns("maml", tuple(SeedRun(i, {"loss": x}) for i, x in enumerate((1.0, 2.0, 3.0))))
        >>> [round(x, 3) for x in runs.interval("loss")]
        [2.0, 2.484]
        """
        from scipy.stats import t

        values = [run.numbers[name] for run in self.runs if name in run.numbers]
        if len(values) < 2:
            return fmean(values), math.inf
        factor = float(t.ppf(0.975, len(values) - 1))
        return fmean(values), factor * stdev(values) / math.sqrt(len(values))

    def _count(self, name: str) -> int:
        """How many runs have a number."""
        return sum(name in run.numbers for run in self.runs)

    def _mean(self, name: str) -> str:
        """As the table has it; of how many, where some runs that came to their end have no such number."""
        mean, ci95 = self.interval(name)
        spread = f" ± {shown(name, ci95).lstrip('+')}" if math.isfinite(ci95) else ""
        text = f"{shown(name, mean)}{spread}"
        count = self._count(name)
        return text if count == self.ended else f"{text} (of {count})"

    def table(self) -> Table:
        """A line for each seed, and one for their mean with its interval, of those that came to their end."""
        lines = [
            (str(run.seed), *(shown(name, run.numbers.get(name)) for name in self.names), run.failure)
            for run in self.runs
        ]
        of = "mean" if self.ended == len(self.runs) else f"mean of {self.ended} of {len(self.runs)}"
        whole = Table(("Seed", *self.names, "Failure"), (*lines, (of, *map(self._mean, self.names), "")))
        return whole.without_empty_columns()

    def to_json(self) -> dict[str, Any]:
        """JSON-ready; an interval of a single run is null."""
        means = {name: self.interval(name) for name in self.names}
        return {
            "method": self.method,
            "runs": [asdict(run) for run in self.runs],
            "mean": {
                name: {"mean": mean, "ci95": ci95 if math.isfinite(ci95) else None, "runs": self._count(name)}
                for name, (mean, ci95) in means.items()
            },
            "ended": self.ended,
            "failed": len(self.runs) - self.ended,
        }


def shown(name: str, value: float | None) -> str:
    """A number as tables have it: an accuracy in per cent, a difference of two in points."""
    if value is None:
        return ""
    if LESS in name:
        return points(value)
    if "accuracy" in name:
        return f"{100 * value:.2f} %"
    return f"{value:.0f}" if name in ("seconds", "best step") else f"{value:.4g}"
