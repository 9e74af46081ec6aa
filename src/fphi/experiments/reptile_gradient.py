"""Reptile's gradient: the sum of the inner gradients, of which the second is what learns to learn."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from fphi.errors import FphiError
from fphi.experiment.setup import tasks_named
from fphi.experiments.base import Experiment, Measured
from fphi.experiments.parts.expansion import InnerGradients, inner_gradients
from fphi.experiments.parts.numbers import accuracies, percent
from fphi.experiments.parts.trainings import Planned, Trained
from fphi.experiments.table import experiment
from fphi.learnable import ReptileLearner
from fphi.learnable.initialization.minibatches import minibatch_rows
from fphi.objective import meta_gradient
from fphi.ranges import count
from fphi.report.panels import Curve, Panel, draw_panels
from fphi.tasks import Examples, Task, TaskDistribution, TrainingTasks
from fphi.tasks.options import TaskOptions

__all__ = ["ReptileGradient"]

_SHOTS = 10  # of a training task, where the tasks leave them open
_VALIDATIONS = 10  # in the course of a training
_RATES = tuple(10 ** (-exponent / 2) for exponent in range(1, 9))  # of the expansion


@experiment("reptile-gradient", "meta-training by g1, by g2, and by their sum, which is Reptile's gradient")
@dataclass(frozen=True)
class ReptileGradient(Experiment):
    """(φ - θ̃)/α = g₁ + g₂ of two minibatches (Nichol, Achiam, Schulman 2018, sections 5 and 6.2).

    g₁ alone is joint training, which learns nothing where labels are drawn anew for each task. g₂ alone is
    FOMAML on minibatches; its part -α H₂ g₁ makes minibatches help each other.

    Args:
        checked_tasks: training tasks on which the identity and the expansion are computed.
        network: that is adapted, as the option of reptile.
    """

    checked_tasks: int = count(3)
    network: str = "conv4-stride"

    def trainings(self, tasks: TaskOptions) -> Mapping[str, Planned]:
        own = {"network": self.network, "train_shots": _SHOTS, "inner_batch": self._minibatch(tasks)}
        own |= {"inner_lr": 0.2, "test_steps": 10, "outer_lr": 1e-3}
        of = {"g1": (1, 0), "g2": (2, 1), "g1 + g2": (2, 0)}
        return {
            name: Planned("reptile", 200, {**own, "inner_steps": steps, "skipped": skipped}, _VALIDATIONS)
            for name, (steps, skipped) in of.items()
        }

    def measure(self, trained: Trained) -> Measured:
        values: dict[str, Any] = {"chance": 1 / self._ways(trained.tasks)}
        for name, kind in trained.kinds.items():
            steps, validated = kind[0].curve("validation_accuracy")
            values[name] = {
                "accuracy": accuracies(kind.scores(alone=True)),
                "validation": {"step": steps, "accuracy": validated},
            }
        values |= self._expansion(trained)
        findings = (
            *(f"{name}: {percent(values[name]['accuracy']['transductive'])}" for name in trained.kinds),
            f"Reptile's (φ - θ̃)/α and g1 + g2 differ by {values['identity_error']:.1e} of their length",
        )
        return Measured(values, findings, draw_panels(_panels(trained, values)))

    def _checked(self, options: TaskOptions, seed: int = 0) -> TaskDistribution:
        """The training tasks on which the identity and the expansion are computed."""
        shots = TrainingTasks(shots=_SHOTS, queries=1, order="shuffled", at_most=True)
        return tasks_named(options, seed, shots, ["train"])

    def _ways(self, options: TaskOptions) -> int:
        """Classes of a task, which tasks of a file have of their own."""
        return self._checked(options).ways or 1

    def _minibatch(self, options: TaskOptions) -> int:
        """Half of what a training task learns from: of the same examples g₁ and g₂ would not be two."""
        tasks = self._checked(options)
        examples = len(tasks.task("train", 0).support.y)
        if examples < 2 * (tasks.ways or 1):
            told = "change the file" if options.file_and_name else "give --shots 2 or more"
            raise FphiError(
                f"--tasks {options.tasks} has {examples} support examples in a training task, and two "
                f"minibatches need {2 * (tasks.ways or 1)}, two of a class: {told}"
            )
        return examples // 2

    def _expansion(self, trained: Trained) -> dict[str, Any]:
        """The identity's error of the trained network, and the remainders of g₂ of a smooth one."""
        run = trained["g1 + g2"][0]
        learner = run.learner()
        assert isinstance(learner, ReptileLearner)
        tasks = self._checked(trained.tasks, run.seed)
        checked = [tasks.drawn("train", [index]) for index in range(self.checked_tasks)]
        identity = [identity_error(learner, task) for task in checked]
        supports = [Examples(support.x[0].double(), support.y[0]) for support, _ in checked]
        smooth = _smooth(supports[0].x[0].numel(), self._ways(trained.tasks), run.seed)
        left = [[_gradients(smooth, s, rate).remainders(rate) for s in supports] for rate in _RATES]
        zeroth, first = ([sum(r[part] for r in row) / len(row) for row in left] for part in (0, 1))
        return {
            "identity_error": max(identity),
            "expansion": {"inner_lr": list(_RATES), "beyond_g2_at_phi": zeroth, "beyond_first_order": first},
        }


def _smooth(inputs: int, outputs: int, seed: int) -> nn.Module:
    """A network without kinks: where ReLUs switch, a gradient jumps, and no expansion holds."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 32), nn.Tanh(), nn.Linear(32, outputs))


def identity_error(learner: ReptileLearner, task: Task) -> float:
    """How far the learner's meta-gradient is from g₁ + g₂ of its two minibatches, relative to that.

    Args:
        learner: of two inner steps of gradient descent.
        task: a batch of one, on which it is computed in float64.
    """
    learner = copy.deepcopy(learner).double().train()
    learner.network.eval()  # nothing random, and the minibatches of training all the same
    exact = Task(*(Examples(_exact(part.x), part.y) for part in task))
    _, gradients = meta_gradient(learner, exact)
    gradient = {name.removeprefix("network."): g for name, g in gradients.items()}
    support, rate = Examples(*(values[0] for values in exact.support)), learner.inner_rate
    return _gradients(learner.network, support, rate, learner.minibatch).identity_error(gradient)


def _exact(x: Tensor) -> Tensor:
    """In float64, unless these are the numbers of words."""
    return x.double() if x.is_floating_point() else x


def _gradients(network: nn.Module, support: Examples, rate: float, size: int | None = None) -> InnerGradients:
    """Of the first two minibatches of a support set, halves of it unless their size is said; in float64."""
    (x, y), network = support, network.double()
    start = {name: p for name, p in network.named_parameters() if p.requires_grad}

    def loss(rows: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
        return F.cross_entropy(functional_call(network, dict(parameters), (x[rows],)), y[rows])

    chosen = [minibatch_rows(step, len(y), size or len(y) // 2) for step in (0, 1)]
    return inner_gradients([partial(loss, rows) for rows in chosen], start, rate)


def _panels(trained: Trained, values: Mapping[str, Any]) -> list[Panel]:
    curves = {}
    for name in trained.kinds:
        validation = values[name]["validation"]
        curves[name] = Curve(validation["step"], [100 * a for a in validation["accuracy"]])
    found = values["expansion"]
    names = {"|g2 - g2(φ)|": "beyond_g2_at_phi", "|g2 - g2(φ) + α H2 g1|": "beyond_first_order"}
    left = {name: Curve(found["inner_lr"], found[key]) for name, key in names.items()}
    return [
        Panel(
            "what moves φ",
            "meta-steps",
            "validation accuracy (%)",
            curves,
            {"chance": 100 * values["chance"]},
        ),
        Panel(
            "expansion of g2, of a smooth network", "inner rate α", "length of the remainder", left, log="xy"
        ),
    ]
