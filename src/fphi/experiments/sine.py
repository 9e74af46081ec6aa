"""Sine waves: what pooled pre-training cannot do, and MAML can."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from fphi.experiments.base import Experiment, Measured
from fphi.experiments.parts.numbers import by_step, mean_of
from fphi.experiments.parts.trainings import Kind, Planned, Trained
from fphi.experiments.table import experiment
from fphi.learnable import GradientLearner
from fphi.ranges import count
from fphi.report.panels import Curve, Panel, draw_panels
from fphi.tasks import Examples, SineTasks, TaskDistribution
from fphi.tasks.options import TaskOptions

__all__ = ["Sine"]

_SHOWN = (0, 1, 10)  # inner steps after which waves are drawn
_QUERIES = 100  # points of a test wave


@experiment("sine", "on sine waves pooled pre-training stays at the task-blind optimum, and MAML fits")
@dataclass(frozen=True)
class Sine(Experiment):
    """Waves y = a sin(x - b), each from a few points (Finn, Abbeel, Levine 2017, section 5.1).

    Pooled pre-training minimises the error over all waves before any inner step: MAML with none of them. The
    best that it can come to is known exactly, and is a curve, not a flat line.

    Args:
        shots: points that a wave is learned from.
    """

    tasks: ClassVar[Mapping[str, Any] | None] = None

    shots: int = count(5, 1000)

    def trainings(self, tasks: TaskOptions) -> Mapping[str, Planned]:
        common = {"tasks": "sine", "shots": self.shots}
        # Without inner steps only queries are learned from: as many as MAML has points of a wave in all.
        maml, pooled = {**common, "queries": 10}, {**common, "queries": 10 + self.shots}
        return {
            "MAML": Planned("maml", 6000, {**maml, "inner_steps": 1, "test_steps": 1}),
            "pooled": Planned("maml", 6000, {**pooled, "inner_steps": 0, "test_steps": 0}),
        }

    def measure(self, trained: Trained) -> Measured:
        values: dict[str, Any] = {"task_blind": _task_blind(trained.test_tasks, self.shots)}
        for name, kind in trained.kinds.items():
            values[name] = {
                "loss_by_step": by_step(kind.tests(steps=10, queries=_QUERIES), "loss"),
                "before": mean_of(kind.scores(test_steps=0, queries=_QUERIES), "loss"),
                "after_1_step": mean_of(kind.scores(test_steps=1, queries=_QUERIES), "loss"),
            }
        values["pooled"]["distance_to_task_blind"] = _distance(trained["pooled"])
        return Measured(values, _findings(values), draw_panels(_panels(trained, values, self.shots)))


def _tasks(shots: int) -> TaskDistribution:
    return SineTasks(shots, _QUERIES)


def _task_blind(tasks: int, shots: int) -> dict[str, Any]:
    """The exact error of the best answers that do not look at the task, and theirs on the test tasks."""
    _, query = _tasks(shots).batch("test", range(tasks))
    on_tests = float((SineTasks.task_blind(query.x) - query.y).square().mean())
    return {"exact": SineTasks.task_blind_error(), "on_these_tasks": on_tests, "flat_line": _flat()}


def _flat() -> float:
    """The error of answering 0: E[y²] = E[a²]/2, since half a period of b averages sin² to a half."""
    low, high = SineTasks.AMPLITUDES
    return (low**2 + low * high + high**2) / 6


def _distance(pooled: Kind) -> float:
    """The root of the mean squared difference of the pooled network's curve from the task-blind one."""
    x = torch.linspace(*SineTasks.INPUTS, 201)[:, None]
    squares = [(_network(run.learner())(x) - SineTasks.task_blind(x)).square().mean() for run in pooled]
    return float(torch.stack(squares).mean().sqrt().detach())


def _network(learner: torch.nn.Module) -> torch.nn.Module:
    assert isinstance(learner, GradientLearner)
    return learner.network


def _findings(values: Mapping[str, Any]) -> tuple[str, ...]:
    blind, maml, pooled = values["task_blind"], values["MAML"], values["pooled"]
    return (
        f"task-blind optimum {blind['exact']:.4f} (on these waves {blind['on_these_tasks']:.3f}), flat line "
        f"{blind['flat_line']:.4f}",
        f"pooled: {_course(pooled)}; its curve is {pooled['distance_to_task_blind']:.2f} from the optimum's",
        f"MAML:   {_course(maml)}",
    )


def _course(values: Mapping[str, Any]) -> str:
    steps = values["loss_by_step"]
    before, after = values["before"], values["after_1_step"]
    return (
        f"mean squared error {before['mean']:.3f} ± {before['ci95']:.2f} before, {after['mean']:.3f} ± "
        f"{after['ci95']:.2f} after 1 step, {steps[10]:.3f} after 10"
    )


def _panels(trained: Trained, values: Mapping[str, Any], shots: int) -> list[Panel]:
    curves = {name: Curve(range(11), values[name]["loss_by_step"]) for name in trained.kinds}
    blind = {
        "task-blind optimum": values["task_blind"]["exact"],
        "the same on these waves": values["task_blind"]["on_these_tasks"],
    }
    errors = Panel("test waves", "inner steps", "mean squared error", curves, blind, limits=(0, None))
    waves = [
        _wave(f"{name}, wave {number}", kind[0].learner(), number, shots)
        for name, kind in trained.kinds.items()
        for number in (0, 1)
    ]
    return [errors, waves[0], waves[1], _blind_panel(trained["pooled"]), waves[2], waves[3]]


def _blind_panel(pooled: Kind) -> Panel:
    x = torch.linspace(*SineTasks.INPUTS, 201)[:, None]
    drawn = {"-1.6234 cos x": _curve(x, SineTasks.task_blind(x))}
    drawn |= {f"pooled, seed {run.seed}": _curve(x, _network(run.learner())(x).detach()) for run in pooled}
    return Panel("pooled, before any step", "x", "y", drawn)


@torch.no_grad()
def _wave(title: str, learner: torch.nn.Module, number: int, shots: int) -> Panel:
    """A test wave, its support points, and the answers after some inner steps."""
    assert isinstance(learner, GradientLearner)
    support = _tasks(shots).batch("test", [number]).support
    x = torch.linspace(*SineTasks.INPUTS, 201)[:, None]
    a, b = SineTasks(shots).waves("test", [number])
    curves = {"true": _curve(x, float(a[0]) * torch.sin(x - float(b[0])))}
    for steps in _SHOWN:
        answers = learner.solve(Examples(support.x, support.y), x[None], steps=steps)[0]
        curves["before" if steps == 0 else f"after {steps} step{'s' * (steps > 1)}"] = _curve(x, answers)
    points = (support.x[0, :, 0].tolist(), support.y[0, :, 0].tolist())
    curves[f"{shots} points"] = Curve(*points, line="points")
    return Panel(title, "x", "y", curves)


def _curve(x: Tensor, y: Tensor) -> Curve:
    return Curve(x[:, 0].tolist(), y[:, 0].tolist(), line="line")
