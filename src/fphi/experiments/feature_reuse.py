"""Feature reuse: is it the inner loop that solves a task, or are it features that serve all tasks?"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.experiment.setup import tasks_named
from fphi.experiment.sizes import size_of
from fphi.experiments.base import Experiment, Measured
from fphi.experiments.parts.cka import LEAST_DEBIASED, linear_cka
from fphi.experiments.parts.layers import layer_outputs
from fphi.experiments.parts.numbers import accuracies, percent
from fphi.experiments.parts.trainings import Kind, Planned, Trained
from fphi.experiments.table import experiment
from fphi.learnable import GradientLearner, NILLearner
from fphi.ranges import count
from fphi.report.panels import Curve, Panel, draw_panels
from fphi.run.meta.evaluate import evaluate
from fphi.tasks import TaskDistribution
from fphi.tasks.options import TaskOptions

__all__ = ["FeatureReuse"]


@experiment("feature-reuse", "MAML, ANIL and NIL, and how alike layers are before and after adaptation (CKA)")
@dataclass(frozen=True)
class FeatureReuse(Experiment):
    """Rapid learning or feature reuse (Raghu, Raghu, Bengio, Vinyals 2020).

    MAML adapts the whole network, ANIL the head alone, and NIL nothing: the nearest support examples answer
    by the features of one that was trained as the others. If the body's features are reused, all are about as
    good, and the body is the same before and after MAML's inner steps while the head is not.

    Args:
        compared_tasks: test tasks whose layers are compared.
        compared_queries: queries of a class in these: the more examples, the less are layers alike by chance.
            Tasks of a file have their own.
        network: that is adapted, as the option of maml.
    """

    compared_tasks: int = count(20)
    compared_queries: int = count(15, 10_000)
    network: str = "conv4-stride"

    def trainings(self, tasks: TaskOptions) -> Mapping[str, Planned]:
        self._require_comparable(tasks)
        own = {"network": self.network, "inner_steps": 5, "test_steps": 5, "inner_lr": 0.1}
        return {"MAML": Planned("maml", 300, own), "ANIL": Planned("anil", 300, own)}

    def measure(self, trained: Trained) -> Measured:
        tested = {name: accuracies(kind.scores(alone=True)) for name, kind in trained.kinds.items()}
        tested |= {f"{name}, as NIL": _without_loop(kind, trained) for name, kind in trained.kinds.items()}
        begun = [_as_nil(run.untrained(), trained) for run in trained["MAML"]]
        tested["untrained, as NIL"] = accuracies(begun)
        tasks = self._compared(trained.tasks)
        similarity = {name: self._similarity(kind, tasks) for name, kind in trained.kinds.items()}
        values = {"accuracy": tested, "similarity": similarity}
        findings = (
            *(f"{name}: {percent(found['transductive'])}" for name, found in tested.items()),
            *(f"{name}, CKA before and after: {_line(found)}" for name, found in similarity.items()),
        )
        return Measured(values, findings, draw_panels(_panels(values), columns=2))

    def _compared(self, options: TaskOptions) -> TaskDistribution:
        """The same test tasks with more queries, where they do not say themselves how many they have."""
        return tasks_named(replace(options, queries=self.compared_queries), splits=["test"])

    def _require_comparable(self, options: TaskOptions) -> None:
        """Raise if tasks have other queries than they are to have, or too few."""
        tasks = self._compared(options)
        compared, of_each = len(tasks.task("test", 0).query.y), self.compared_queries
        own, there = "queries" in options.own_sizes, size_of(tasks, "test")["queries"]
        if own and of_each != there and of_each != type(self).compared_queries:
            raise FphiError(
                f"--compared-queries {of_each}, but the tasks of {options.tasks} have {there} queries of a "
                "class, whatever is asked for: leave --compared-queries out, or change the file"
            )
        if compared < LEAST_DEBIASED:
            what = options.tasks if own else f"--compared-queries {of_each}"
            raise FphiError(
                f"{what} makes {compared} examples of a task, and CKA needs {LEAST_DEBIASED}; give more"
            )

    def _similarity(self, kind: Kind, tasks: TaskDistribution) -> dict[str, dict[str, float]]:
        """By layer the CKA before and after adaptation, averaged over tasks and trainings."""
        found = [
            _compare(_gradient(run.learner()), tasks, index)
            for run in kind
            for index in range(self.compared_tasks)
        ]
        return {
            how: {layer: sum(one[how][layer] for one in found) / len(found) for layer in found[0][how]}
            for how in ("cka", "cka_debiased")
        }


def _compare(learner: GradientLearner, tasks: TaskDistribution, index: int) -> dict[str, dict[str, float]]:
    support, query = tasks.task("test", index)
    with torch.no_grad():
        adapted = learner.adapt(support)
    own = {name: p.detach() for name, p in learner.network.named_parameters()}
    before, after = (layer_outputs(learner.network, p, query.x) for p in (own, adapted))
    return {
        how: {layer: linear_cka(before[layer], after[layer], debiased=debiased) for layer in before}
        for how, debiased in (("cka", False), ("cka_debiased", True))
    }


def _gradient(learner: nn.Module) -> GradientLearner:
    assert isinstance(learner, GradientLearner)
    return learner


def _without_loop(kind: Kind, trained: Trained) -> dict[str, Any]:
    """What was trained with an inner loop, tested without it."""
    return accuracies([_as_nil(run.learner(), trained) for run in kind])


def _as_nil(made: nn.Module, trained: Trained) -> Mapping[str, Tensor]:
    nil = NILLearner.of(_gradient(made)).eval()
    tasks = tasks_named(trained.tasks, splits=["test"])
    return evaluate(nil, tasks, count=trained.test_tasks).per_task()


def _line(values: Mapping[str, Mapping[str, float]]) -> str:
    return ", ".join(f"{layer} {value:.3f}" for layer, value in values["cka"].items())


def _panels(values: Mapping[str, Any]) -> list[Panel]:
    tested = {name: found["transductive"] for name, found in values["accuracy"].items()}
    means, spreads = ([100 * t[key] for t in tested.values()] for key in ("mean", "ci95"))
    accuracy = Curve(range(len(tested)), means, spreads, "points")
    ticks = [name.replace(", ", "\n") for name in tested]
    alike = {}
    for name, found in values["similarity"].items():
        alike[name] = Curve(range(len(found["cka"])), list(found["cka"].values()))
        alike[f"{name}, debiased"] = Curve(range(len(found["cka"])), list(found["cka_debiased"].values()))
    layers = list(values["similarity"]["MAML"]["cka"])
    return [
        Panel("test tasks", "", "accuracy (%), queries together", {"accuracy": accuracy}, ticks=ticks),
        Panel("before and after the inner steps", "", "CKA", alike, ticks=layers, limits=(0, 1.05)),
    ]
