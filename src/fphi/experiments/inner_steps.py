"""Inner steps at test: how much is learned of a task with each of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fphi.experiments.base import Experiment, Measured
from fphi.experiments.parts.numbers import accuracies, by_step, percent
from fphi.experiments.parts.trainings import Planned, Trained
from fphi.experiments.table import experiment
from fphi.ranges import count
from fphi.report.panels import Curve, Panel, draw_panels
from fphi.tasks.options import TaskOptions

__all__ = ["InnerSteps"]


@experiment("inner-steps", "accuracy on test tasks after 0 to 10 inner steps")
@dataclass(frozen=True)
class InnerSteps(Experiment):
    """MAML before a step is at chance: φ knows nothing of the task. One step does most of the work.

    Two are trained, for one long step and for five short ones, and both are tested with 0 to ``most_steps``.

    Args:
        most_steps: inner steps that a test goes up to.
        network: that is adapted, as the option of maml.
    """

    most_steps: int = count(10, 1000)
    network: str = "conv4-stride"

    def trainings(self, tasks: TaskOptions) -> Mapping[str, Planned]:
        one = {"network": self.network, "inner_steps": 1, "test_steps": 3, "inner_lr": 0.4}
        five = {"network": self.network, "inner_steps": 5, "test_steps": 5, "inner_lr": 0.1}
        return {"trained for 1 step": Planned("maml", 300, one), "trained for 5": Planned("maml", 300, five)}

    def measure(self, trained: Trained) -> Measured:
        values: dict[str, Any] = {}
        for name, kind in trained.kinds.items():
            tests = kind.tests(steps=self.most_steps, alone=True)
            values["chance"] = 1 / tests[0].record["ways"]
            values[name] = {
                "accuracy": accuracies([test.scores for test in tests]),
                "accuracy_by_step": by_step(tests, "accuracy")[: self.most_steps + 1],
                "loss_by_step": by_step(tests, "loss")[: self.most_steps + 1],
            }
        findings = tuple(_finding(name, values[name]) for name in trained.kinds)
        return Measured(values, findings, draw_panels(_panels(values, list(trained.kinds))))


def _finding(name: str, values: Mapping[str, Any]) -> str:
    steps = values["accuracy_by_step"]
    shown = ", ".join(f"{100 * steps[n]:.1f} % after {n}" for n in (0, 1, 3, 5, 10) if n < len(steps))
    return f"{name}: {shown}; with its own steps {percent(values['accuracy']['transductive'])}"


def _panels(values: Mapping[str, Any], names: list[str]) -> list[Panel]:
    places = range(len(values[names[0]]["accuracy_by_step"]))
    right = {n: Curve(places, [100 * a for a in values[n]["accuracy_by_step"]]) for n in names}
    losses = {n: Curve(places, values[n]["loss_by_step"]) for n in names}
    chance = {"chance": 100 * values["chance"]}
    return [
        Panel("test tasks", "inner steps", "accuracy (%), queries together", right, chance),
        Panel("test tasks", "inner steps", "query loss", losses, log="y"),
    ]
