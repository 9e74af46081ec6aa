"""What across-task testing gives: a value for each task, and means with their intervals."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

__all__ = ["Evaluation", "Interval"]


@dataclass(frozen=True)
class Interval:
    """A mean over tasks and its 95 % interval.

    Args:
        mean: over tasks.
        ci95: half the interval's width: 1.96 standard errors.
    """

    mean: float
    ci95: float

    @classmethod
    def of(cls, values: Tensor) -> "Interval":
        """From one value per task ``[n]``; with a single task the interval is infinite."""
        n = values.shape[0]
        spread = float(values.double().std()) if n > 1 else float("inf")
        return cls(float(values.double().mean()), 1.96 * spread / n**0.5)

    def __str__(self) -> str:
        return f"{self.mean:.4g} ± {self.ci95:.2g}"


@dataclass(frozen=True, repr=False)
class Evaluation:
    """What a learner reached on test tasks; fractions in 0..1, losses as the learner defines them.

    Values are given task by task, so that two learners can be compared on the same tasks.

    Args:
        transductive: accuracy of each task ``[n]`` where all its queries are answered together; empty in
            regression.
        inductive: accuracy of each task ``[n]`` where no query's answer depends on another query. The same
            as ``transductive`` unless ``shares_queries``; empty in regression, and where it was left out.
        losses: loss of each task ``[n]``, all its queries answered together.
        by_step: mean loss and accuracy after 0, 1, … inner steps, all queries answered together; empty
            for learners without steps.
        shares_queries: whether queries that are answered together share statistics.
        measures: what else the learner tells of each task, by name ``[n]``.
        calibration_error: by how much sureness and accuracy differ, over all answers: see
            `fphi.run.meta.confidence.calibration_error`; None in regression, and of answers that
            are no probabilities (see `LearningAlgorithm.logits`).
    """

    transductive: Tensor
    inductive: Tensor
    losses: Tensor
    by_step: list[dict[str, float]] = field(default_factory=list)
    shares_queries: bool = False
    measures: dict[str, Tensor] = field(default_factory=dict)
    calibration_error: float | None = None

    def __repr__(self) -> str:
        """One line: the number of tasks, and each mean with its interval."""
        parts = [f"{kind} accuracy {Interval.of(100 * v)} %" for kind, v in self._accuracies().items()]
        parts.append(f"loss {Interval.of(self.losses)}")
        return f"{self.tasks} task{'s' * (self.tasks != 1)}: {', '.join(parts)}"

    @property
    def tasks(self) -> int:
        return self.losses.shape[0]

    @property
    def accuracy(self) -> float:
        """The mean accuracy, all queries of a task answered together; NaN in regression."""
        return float(self.transductive.double().mean())

    @property
    def loss(self) -> float:
        return float(self.losses.double().mean())

    def per_task(self) -> dict[str, Tensor]:
        """Accuracies (those of `to_json`), loss and the learner's measures of each task, by name."""
        return {**self.measures, **self._accuracies(), "loss": self.losses}

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready summary."""
        summary: dict[str, Any] = {"tasks": self.tasks, "loss": vars(Interval.of(self.losses))}
        accuracies = self._accuracies()
        if accuracies:
            summary["accuracy"] = {kind: vars(Interval.of(v)) for kind, v in accuracies.items()}
            summary["statistics"] = {
                kind: _STATISTICS[kind] if self.shares_queries else "none of other queries"
                for kind in accuracies
            }
            summary["calibration_error"] = self.calibration_error
        if self.measures:
            summary["measures"] = {k: vars(Interval.of(v)) for k, v in self.measures.items()}
        return {**summary, "by_step": self.by_step}

    def _accuracies(self) -> dict[str, Tensor]:
        """The accuracies that differ by what they mean: without shared statistics there is only one."""
        kinds = {"inductive": self.inductive}
        if self.shares_queries:
            kinds["transductive"] = self.transductive
        return {kind: values for kind, values in kinds.items() if len(values)}


_STATISTICS = {"inductive": "support+1", "transductive": "query-batch"}
