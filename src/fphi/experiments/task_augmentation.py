"""Task augmentation: the rotations of a class as classes of their own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fphi.experiments.base import Experiment, Measured
from fphi.experiments.classes import training_classes
from fphi.experiments.parts.numbers import accuracies, gain_of, percent
from fphi.experiments.parts.trainings import Planned, Trained
from fphi.experiments.table import experiment
from fphi.ranges import count
from fphi.report.panels import Curve, Panel, draw_panels
from fphi.tasks.options import TaskOptions

__all__ = ["TaskAugmentation"]


@experiment("task-augmentation", "few training classes, with and without their rotations as new classes")
@dataclass(frozen=True)
class TaskAugmentation(Experiment):
    """A rotation of a character is another character: four times the classes, where these are few.

    Both trainings have the same classes, steps and start; test tasks are the same, and differences are taken
    task by task.

    Args:
        classes: training classes.
        network: that is adapted, as the option of maml.
    """

    classes: int = count(50, least=2)
    network: str = "conv4-stride"

    def trainings(self, tasks: TaskOptions) -> Mapping[str, Planned]:
        own = {"network": self.network, "inner_steps": 1, "test_steps": 3}
        own |= {"train_classes": min(self.classes, training_classes(tasks))}
        return {
            "off": Planned("maml", 500, {**own, "train_rotation": "none"}),
            "on": Planned("maml", 500, {**own, "train_rotation": "classes"}),
        }

    def measure(self, trained: Trained) -> Measured:
        values: dict[str, Any] = {}
        scores = {name: kind.scores(alone=True) for name, kind in trained.kinds.items()}
        for name, kind in trained.kinds.items():
            values[name] = {
                "training_tasks": accuracies(kind.scores(split="train")),
                "test_tasks": accuracies(scores[name]),
            }
        values["gain"] = gain_of(scores["on"], scores["off"])
        findings = (
            *(f"{name}: {_line(values[name])}" for name in trained.kinds),
            f"gained on test tasks: {percent(values['gain'], 'points')}, task by task",
        )
        return Measured(values, findings, draw_panels([_panel(values)]))


def _line(values: Mapping[str, Any]) -> str:
    train, test = (percent(values[key]["transductive"]) for key in ("training_tasks", "test_tasks"))
    return f"training tasks {train}, test tasks {test}"


def _panel(values: Mapping[str, Any]) -> Panel:
    curves = {}
    for shift, (name, key) in (
        (-0.08, ("training tasks", "training_tasks")),
        (0.08, ("test tasks", "test_tasks")),
    ):
        found = [values[on][key]["transductive"] for on in ("off", "on")]
        places = [place + shift for place in range(2)]
        spread = [100 * f["ci95"] for f in found]
        curves[name] = Curve(places, [100 * f["mean"] for f in found], spread, "points")
    ticks = ("as they are", "rotations as classes")
    return Panel(
        "task augmentation", "training classes", "accuracy (%), queries together", curves, ticks=ticks
    )
