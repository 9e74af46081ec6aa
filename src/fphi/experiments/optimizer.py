"""The learned optimizer: six problems, on which it is compared with rules made by hand."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from fphi.experiments.base import Experiment, Measured
from fphi.experiments.parts.numbers import by_step
from fphi.experiments.parts.trainings import Kind, Planned, Trained
from fphi.experiments.table import experiment
from fphi.ranges import count
from fphi.report.panels import Curve, Panel, draw_panels
from fphi.tasks.digits import Digits
from fphi.tasks.options import TaskOptions

__all__ = ["Optimizer"]

_RULES = ("sgd", "momentum", "rmsprop", "adam")
_LEARNED = "lstm"
_MOST_SHOTS = 18  # so many and 10 queries are all test examples that scikit-learn has of some digit
# MNIST as the paper trains on it: minibatches of 128, of so many images that no network learns them by heart.
_MNIST: Mapping[str, Any] = {"tasks": "mnist", "ways": 10, "shots": 500, "queries": 20, "inner_batch": 128}
# Meta-steps on networks.
_LEARNED_FOR: Mapping[Digits, int] = {"digits": 400, "mnist": 1500}
# The networks that are trained, by what differs from one layer of 20 sigmoid units.
_NETWORKS: Mapping[str, Mapping[str, Any]] = {
    "20 units": {},
    "40 units": {"units": 40},
    "2 layers": {"unit_layers": 2},
    "ReLU": {"activation": "relu"},
}


@dataclass(frozen=True)
class _Problem:
    """What a panel shows.

    Args:
        title: of the panel.
        network: one of the networks, or "quadratics".
        first: the step that it begins with, in lengths of a training.
    """

    title: str
    network: str
    first: int = 0


_PANELS = (
    _Problem("quadratics", "quadratics"),
    _Problem("MLP", "20 units"),
    _Problem("MLP, as long again", "20 units", 1),
    _Problem("MLP of 40 units", "40 units"),
    _Problem("MLP of 2 layers", "2 layers"),
    _Problem("MLP of ReLUs", "ReLU"),
)


@experiment("optimizer", "the learned LSTM optimizer beside tuned rules, where it was learned and elsewhere")
@dataclass(frozen=True)
class Optimizer(Experiment):
    """Learning to learn by gradient descent by gradient descent (Andrychowicz et al. 2016, figures 4 to 6).

    The LSTM is learned on quadratics, and on one layer of 20 sigmoid units; it is tested on twice as many
    steps and on other networks too. Step sizes of the other rules are tuned for each network, on training
    problems.

    Args:
        data: that the networks learn: "digits", the embedded ones, or "mnist", in minibatches of 128.
        inner_steps: steps of a training; tests go twice as far.
        shots: examples of each of the ten embedded digits in a problem.
    """

    tasks: ClassVar[Mapping[str, Any] | None] = None
    usual_test_tasks: ClassVar[int] = 10

    data: Digits = "digits"
    inner_steps: int = count(100, 10_000)
    shots: int = count(10, _MOST_SHOTS)

    def trainings(self, tasks: TaskOptions) -> Mapping[str, Planned]:
        steps = {"inner_steps": self.inner_steps}
        digits = {"tasks": "digits", "ways": 10, "shots": self.shots} if self.data == "digits" else _MNIST
        digits = {**digits, **steps}
        quadratics = {"tasks": "quadratics", **steps}
        planned = {
            f"{_LEARNED} on quadratics": Planned("lstm-optimizer", 1000, {**quadratics, "stretches": "one"}),
            f"{_LEARNED} on 20 units": Planned(
                "lstm-optimizer", _LEARNED_FOR[self.data], {**digits, "meta_batch": 4, "stretches": "one"}
            ),
        }
        for network, options in {"quadratics": quadratics, **_NETWORKS}.items():
            own = options if network == "quadratics" else {**digits, "meta_batch": 2, **options}
            for rule in _RULES:
                tuned = {**own, "rule": rule, "outer_lr": 0.2}
                planned[f"{rule} on {network}"] = Planned("tuned-optimizer", 40, tuned)
        return planned

    def measure(self, trained: Trained) -> Measured:
        courses = {network: self._courses(trained, network) for network in ("quadratics", *_NETWORKS)}
        values = {"steps": self.inner_steps, "loss_by_step": courses}
        panels = [self._panel(problem, courses[problem.network]) for problem in _PANELS]
        findings = tuple(self._finding(problem, courses[problem.network]) for problem in _PANELS)
        return Measured(values, findings, draw_panels(panels))

    def _courses(self, trained: Trained, network: str) -> dict[str, list[float]]:
        """By rule the loss after each step; the LSTM is that of 20 units wherever units are trained."""
        learned = trained[f"{_LEARNED} on {'quadratics' if network == 'quadratics' else '20 units'}"]
        own = dict(_NETWORKS.get(network, {}))
        twice = 2 if network == "20 units" else 1
        kinds: dict[str, tuple[Kind, Mapping[str, Any]]] = {_LEARNED: (learned, own)}
        kinds |= {rule: (trained[f"{rule} on {network}"], {}) for rule in _RULES}
        return {
            rule: by_step(kind.tests(test_steps=twice * self.inner_steps, **options), "loss")
            for rule, (kind, options) in kinds.items()
        }

    def _panel(self, problem: _Problem, courses: Mapping[str, list[float]]) -> Panel:
        first, last = (self.inner_steps * (problem.first + more) for more in (0, 1))
        places = range(first, last + 1)
        curves = {
            rule: Curve(places, losses[first : last + 1], line="line") for rule, losses in courses.items()
        }
        return Panel(problem.title, "step", "query loss", curves, log="y")

    def _finding(self, problem: _Problem, courses: Mapping[str, list[float]]) -> str:
        last = self.inner_steps * (problem.first + 1)
        found = ", ".join(f"{rule} {losses[last]:.3g}" for rule, losses in courses.items())
        return f"{problem.title}, loss after {last} steps: {found}"
