"""Stability: MAML and MAML++ over several seeds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from fphi.experiments.base import Experiment, Measured
from fphi.experiments.parts.numbers import accuracies, percent
from fphi.experiments.parts.trainings import Kind, Planned, Trained
from fphi.experiments.table import experiment
from fphi.ranges import count
from fphi.report.panels import Curve, Panel, draw_panels
from fphi.tasks.options import TaskOptions

__all__ = ["Stability"]

_VALIDATIONS = 12  # in the course of a training


@experiment("stability", "MAML and MAML++ over three seeds: courses of training, and how far they end apart")
@dataclass(frozen=True)
class Stability(Experiment):
    """How to train your MAML (Antoniou, Edwards, Storkey 2019): the same network, inner steps and first rate.

    Args:
        inner_steps: of both.
        network: that is adapted, as the option of maml.
    """

    usual_seeds: ClassVar[int] = 3

    inner_steps: int = count(5, 10_000)
    network: str = "conv4-stride"

    def trainings(self, tasks: TaskOptions) -> Mapping[str, Planned]:
        steps = {"inner_steps": self.inner_steps, "test_steps": self.inner_steps}
        own = {"network": self.network, "inner_lr": 0.1, "meta_batch": 8, "log_every": 1, **steps}
        kinds = {"MAML": "maml", "MAML++": "maml++"}
        return {name: Planned(method, 200, own, _VALIDATIONS) for name, method in kinds.items()}

    def measure(self, trained: Trained) -> Measured:
        values: dict[str, Any] = {}
        for name, kind in trained.kinds.items():
            accuracy = accuracies(kind.scores(alone=True))
            ends = accuracy["transductive"]["by_seed"]
            courses = [_course(run.curve("validation_accuracy")) for run in kind]
            values[name] = {"accuracy": accuracy, "range": max(ends) - min(ends), "validation": courses}
        findings = tuple(
            f"{name}: test accuracy {percent(v['accuracy']['transductive'])}, seeds "
            + ", ".join(f"{100 * a:.1f}" for a in v["accuracy"]["transductive"]["by_seed"])
            + f", {100 * v['range']:.1f} points apart"
            for name, v in values.items()
        )
        return Measured(values, findings, draw_panels(_panels(trained, values)))


def _course(curve: tuple[list[int], list[float]]) -> dict[str, Any]:
    return {"step": curve[0], "accuracy": curve[1]}


def _panels(trained: Trained, values: Mapping[str, Any]) -> list[Panel]:
    panels = [_courses(name, kind, values[name]["validation"]) for name, kind in trained.kinds.items()]
    ends = {}
    for place, name in enumerate(values):
        seeds = values[name]["accuracy"]["transductive"]["by_seed"]
        ends[name] = Curve([place] * len(seeds), [100 * a for a in seeds], line="points")
    last = Panel("test tasks, each seed", "", "accuracy (%)", ends, ticks=tuple(values))
    return [*panels, last]


def _courses(name: str, kind: Kind, courses: list[dict[str, Any]]) -> Panel:
    curves = {
        f"seed {run.seed}": Curve(c["step"], [100 * a for a in c["accuracy"]])
        for run, c in zip(kind, courses, strict=True)
    }
    return Panel(name, "meta-steps", "validation accuracy (%)", curves)
