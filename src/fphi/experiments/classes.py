"""Training classes: with few of them a learning algorithm overfits to its training tasks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fphi.errors import FphiError
from fphi.experiments.base import Experiment, Measured
from fphi.experiments.parts.numbers import accuracies, percent
from fphi.experiments.parts.trainings import Planned, Trained
from fphi.experiments.table import experiment
from fphi.report.panels import Curve, Panel, draw_panels
from fphi.tasks import FewShotTasks
from fphi.tasks.options import TaskOptions

__all__ = ["Classes", "training_classes"]

_COUNTS = (10, 50, 200, 1000)


@experiment("classes", "accuracy on training and on test tasks against the number of training classes")
@dataclass(frozen=True)
class Classes(Experiment):
    """Overfitting on training tasks: the gap between training and test tasks falls as there are more classes.

    MAML is trained on 10, 50, 200 and 1000 of the training classes, or on all where there are fewer. Tasks of
    each split are new draws: those of the training split are of the classes that were trained on.

    Args:
        network: that is adapted, as the option of maml.
    """

    network: str = "conv4-stride"

    def trainings(self, tasks: TaskOptions) -> Mapping[str, Planned]:
        there = training_classes(tasks)
        counts = sorted({min(count, there) for count in _COUNTS if count >= tasks.ways})
        own = {"network": self.network, "inner_steps": 1, "test_steps": 3}
        return {f"{n} classes": Planned("maml", 300, {**own, "train_classes": n}) for n in counts}

    def measure(self, trained: Trained) -> Measured:
        values: dict[str, Any] = {}
        for name, kind in trained.kinds.items():
            train, test = (
                accuracies(kind.scores(split=split, alone=split == "test")) for split in ("train", "test")
            )
            values[name] = {
                "classes": kind[0].options["train_classes"],
                "training_tasks": train,
                "test_tasks": test,
                "gap": train["transductive"]["mean"] - test["transductive"]["mean"],
            }
        findings = tuple(
            f"{name}: training tasks {percent(v['training_tasks']['transductive'])}, test tasks "
            f"{percent(v['test_tasks']['transductive'])}, gap {100 * v['gap']:.1f} points"
            for name, v in values.items()
        )
        return Measured({"by_classes": values}, findings, draw_panels(_panels(list(values.values()))))


def training_classes(tasks: TaskOptions) -> int:
    """How many training classes there are, before they are turned.

    Raises:
        FphiError: these tasks have no classes of which some can be left out.
    """
    if tasks.file_and_name is not None:
        raise FphiError(
            f"--tasks {tasks.tasks}: tasks of a file come as they are, and no option leaves out some of "
            "their training classes; give hershey, omniglot, or a folder of images"
        )
    made = tasks.load(splits=["train"])
    if not isinstance(made, FewShotTasks):
        raise FphiError(
            f"--tasks {tasks.tasks} has no training classes to choose from; give hershey or images"
        )
    return len(made.classes["train"])


def _panels(values: list[dict[str, Any]]) -> list[Panel]:
    counts = [v["classes"] for v in values]
    curves = {}
    for name, key in (("training tasks", "training_tasks"), ("test tasks", "test_tasks")):
        found = [v[key]["transductive"] for v in values]
        curves[name] = Curve(counts, [100 * f["mean"] for f in found], [100 * f["ci95"] for f in found])
    gaps = {"gap": Curve(counts, [100 * v["gap"] for v in values])}
    return [
        Panel("MAML", "training classes", "accuracy (%), queries together", curves, log="x"),
        Panel("training minus test tasks", "training classes", "points", gaps, {"none": 0}, log="x"),
    ]
