"""Domains: the same classes in many renderings, one kind of which is held out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from fphi.experiments.base import Experiment, Measured
from fphi.experiments.parts.numbers import accuracies, by_step, gain_of, percent
from fphi.experiments.parts.trainings import Kind, Planned, Trained
from fphi.experiments.table import experiment
from fphi.ranges import count
from fphi.report.panels import Curve, Panel, draw_panels
from fphi.tasks.fonts import FontTasks
from fphi.tasks.options import TaskOptions

__all__ = ["Domains"]

_RATES = (0.03, 0.1, 0.3)  # of inner steps, one of which is chosen on development fonts
_MOST_STEPS = 10
_TASKS = 8  # of a meta-step


@experiment("domains", "letters in fonts, blackletter held out: meta-learning against pooled training")
@dataclass(frozen=True)
class Domains(Experiment):
    """Meta-learning as domain adaptation: a task is a font, and its classes are the same letters.

    One network can serve all fonts, so pooled training is no failure here: it is MAML without inner steps.
    Both are then fine-tuned on a few letters of a blackletter font, with the rate and the number of steps
    that were best on written fonts, the development domains. What is held out are six fonts, however many
    tasks are drawn of them: intervals are over the means of fonts.

    Args:
        ways: letters, from A on.
        shots: examples of each that are learned from.
        network: that is adapted, as the option of maml.
    """

    tasks: ClassVar[Mapping[str, Any] | None] = None

    ways: int = count(10, 26, least=2)
    shots: int = count(1, 10)
    network: str = "conv4-stride"

    def trainings(self, tasks: TaskOptions) -> Mapping[str, Planned]:
        own = {"tasks": "fonts", "ways": self.ways, "shots": self.shots, "network": self.network}
        own |= {"inner_lr": 0.1}
        # Without inner steps only queries are learned from, half a task's images: so there are two for one.
        maml = {**own, "meta_batch": _TASKS, "inner_steps": 3, "test_steps": 3}
        pooled = {**own, "meta_batch": 2 * _TASKS, "inner_steps": 0, "test_steps": 0}
        return {
            "MAML": Planned("maml", 250, maml),
            "pooled": Planned("maml", 250, pooled, tasks_each=2),
        }

    def measure(self, trained: Trained) -> Measured:
        values, scores = {}, {}
        fonts = FontTasks(self.ways, self.shots).fonts("test", range(trained.test_tasks))
        for name, kind in trained.kinds.items():
            values[name], scores[name] = _tuned(kind, fonts)
        gain = gain_of(scores["MAML"], scores["pooled"], fonts)
        found = {**values, "gain": gain, "chance": 1 / self.ways}
        of_fonts = ", ".join(f"{font} {100 * own:+.1f}" for font, own in gain["by_domain"].items())
        findings = (
            *(_finding(name, own) for name, own in values.items()),
            f"MAML above pooled: {percent(gain, 'points')} over held-out fonts ({of_fonts})",
        )
        return Measured(found, findings, draw_panels(_panels(values, 1 / self.ways)))


def _tuned(kind: Kind, fonts: Sequence[str]) -> tuple[dict[str, Any], Sequence[Mapping[str, Any]]]:
    """Rate and steps that are best in development, and with these the test, by task too.

    Args:
        kind: that is tested.
        fonts: of the test tasks.
    """
    courses = {
        rate: by_step(kind.tests(split="validation", inner_lr=rate, steps=_MOST_STEPS), "accuracy")
        for rate in _RATES
    }
    accuracy, rate, steps = max(
        (found, rate, -step) for rate, course in courses.items() for step, found in enumerate(course)
    )
    tests = kind.tests(inner_lr=rate, test_steps=-steps, steps=_MOST_STEPS, alone=True)
    scores = [test.scores for test in tests]
    return {
        "inner_lr": rate,
        "steps": -steps,
        "validation_accuracy": accuracy,
        "before": accuracies(kind.scores(test_steps=0), fonts),
        "accuracy": accuracies(scores, fonts),
        "accuracy_by_step": by_step(tests, "accuracy"),
    }, scores


def _finding(name: str, values: Mapping[str, Any]) -> str:
    before, after = (percent(values[key]["transductive"]) for key in ("before", "accuracy"))
    return f"{name}: {before} before a step, {after} after {values['steps']} of rate {values['inner_lr']:g}"


def _panels(values: Mapping[str, Any], chance: float) -> list[Panel]:
    courses = {
        f"{name}, rate {own['inner_lr']:g}": Curve(
            range(len(own["accuracy_by_step"])), [100 * a for a in own["accuracy_by_step"]]
        )
        for name, own in values.items()
    }
    found = [own["accuracy"]["transductive"] for own in values.values()]
    ends = Curve(
        range(len(found)), [100 * f["mean"] for f in found], [100 * f["ci95"] for f in found], "points"
    )
    label = "accuracy (%), queries together"
    return [
        Panel("blackletter, held out", "inner steps", label, courses, {"chance": 100 * chance}),
        Panel(
            "with the steps of development, over fonts", "", label, {"held out": ends}, ticks=tuple(values)
        ),
    ]
