"""Which options a run has: decided by its method and, for a search, by the space and the few-shot learner."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeGuard

from fphi.errors import FphiError
from fphi.experiment.parser import Parser
from fphi.experiment.plugins import is_in_file, method_named
from fphi.experiment.running import ExecutorOptions, LoggerOptions
from fphi.experiment.search.options import (
    BudgetOptions,
    ControlOptions,
    DataOptions,
    LastTrainingsOptions,
    MetaOptions,
    NetworkOptions,
    RetrainOptions,
    get_space,
    spaces,
)
from fphi.experiment.weighting.options import BesideOptions, ExampleOptions
from fphi.learnable.architecture.space import TakesNorm
from fphi.learnable.augmentation import AugmentationSpace
from fphi.learnable.space import Space
from fphi.methods.base import FewShotMethod, Method
from fphi.methods.families.searching import EpochwiseMethod, SearchMethod, SupernetMethod
from fphi.methods.families.weighting import WeightingMethod
from fphi.methods.table import methods
from fphi.objective.candidate_loss import ChoosesRate
from fphi.run.meta.training import Training
from fphi.tasks.options import TaskOptions
from fphi.within.training import NetworkTraining

__all__ = ["LEARNER", "Schema", "named_in"]

LEARNER = "learner"
"""The key of the options of a search's few-shot learner."""
_CHILD = "child"
_CHILD_DEFAULTS: dict[str, object] = {"epochs": 2, "batch_size": 64}
# Augmentation is of no use to a training that ends before it has learned the images by heart.
_AUGMENTED_DEFAULTS = {"epochs": 8, "batch_size": 64}


@dataclass(frozen=True)
class Schema:
    """Which options a run has.

    Args:
        name: of the method, or ``FILE.py:NAME``.
        method: its class.
        space: of a search; None: there is none.
        few_shot: name and class of the learner whose networks a search is for; None: networks are trained on
            examples.
    """

    name: str
    method: type[Method]
    space: type[Space] | None = None
    few_shot: tuple[str, type[FewShotMethod]] | None = None

    @classmethod
    def named(cls, method: str, space: str | None = None, few_shot: str | None = None) -> Self:
        """By the names of what decides it.

        Raises:
            FphiError: there is nothing of such a name, or what there is does not fit together.
        """
        kind = method_named(method)
        if issubclass(kind, FewShotMethod | WeightingMethod):
            if space is not None or few_shot is not None:
                raise FphiError(f"{method} searches nothing; leave --space and --few-shot out")
            return cls(method, kind)
        assert issubclass(kind, SearchMethod | EpochwiseMethod)
        searched = get_space(space or kind.usual_space)
        return cls(method, kind, searched, _learner(few_shot, method, kind, searched))

    @property
    def names(self) -> dict[str, str | None]:
        """What decides it, by name."""
        if self.space is None:
            return {"method": self.name}
        few_shot = self.few_shot[0] if self.few_shot else None
        return {"method": self.name, "space": self.space.name, "few_shot": few_shot}

    @property
    def parts(self) -> tuple[tuple[str, type], ...]:
        """The dataclasses that hold the options, each with the key that they stand under ("": under none)."""
        if issubclass(self.method, WeightingMethod):
            own = ("", self.method), ("", NetworkOptions), ("", NetworkTraining)
            others = ("", ExampleOptions), ("", BesideOptions), ("", LoggerOptions)
            return *own, ("", DataOptions), *others
        if self.space is None:
            return ("", TaskOptions), ("", Training), ("", self.method)
        learned: tuple[tuple[str, type], ...]
        if issubclass(self.space, AugmentationSpace) and self.few_shot is None:
            last = ("", NetworkOptions), ("", LastTrainingsOptions)
            learned = ("", DataOptions), (_CHILD, NetworkTraining), *last
        elif self.few_shot is None:
            learned = ("", DataOptions), (_CHILD, NetworkTraining), ("", RetrainOptions)
        else:
            learned = ("", TaskOptions), ("", MetaOptions), (LEARNER, self.few_shot[1])
        ends = ("", BudgetOptions), ("", ControlOptions), ("", ExecutorOptions), ("", LoggerOptions)
        return ("", self.space), ("", self.method), *learned, *ends

    def parser(self, command: str, tasks: str | None = None) -> Parser:
        """The flags of all options.

        Args:
            command: the word of the command line.
            tasks: of a few-shot method, where they are known: the usual training depends on them.
        """
        what = "Search by" if self.space else "Meta-train"
        if issubclass(self.method, WeightingMethod):
            what = "Train a network whose examples are weighed by"
        about = f"{what} {self.name}. {self.method.paper}."
        own = getattr(self.method, "paper_budget", "") or getattr(self.method, "paper_training", "")
        if own:
            about += f" As in the paper: {own}."
        parser = Parser(f"{command} {self.name}", about)
        parser.add_option("--method", str, self.name, "the method's name, as in config.yaml")
        if self.space is not None:
            parser.add_option("--space", str, self.space.name, f"one of {', '.join(spaces())}")
            parser.add_option(
                "--few-shot",
                str,
                self.few_shot[0] if self.few_shot else None,
                "a few-shot method: candidates are its networks, or what is done to its training images, and "
                "are judged on tasks; with it, "
                "--help lists the options of tasks in place of those of examples",
            )
        for key, kind in self.parts:
            parser.add_dataclass(kind, key)
        parser.set_defaults(self._usual(tasks))
        return parser

    def known(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Values of a file, without removed options that stand at what is done anyway."""
        removed = getattr(self.method, "removed", {})
        return {key: v for key, v in values.items() if not (key in removed and removed[key] == v)}

    def _usual(self, tasks: str | None) -> dict[str, object]:
        """Defaults that depend on the method."""
        if issubclass(self.method, FewShotMethod):
            usual = self.method.usual
            steps = usual.steps_for(None if tasks in ("sine", "quadratics") else 1)
            return {"steps": steps, "meta_batch": usual.meta_batch, "best_by": usual.best_by}
        if issubclass(self.method, WeightingMethod):
            return dict(self.method.usual_training)
        if self.few_shot is None:
            augments = self.space is not None and issubclass(self.space, AugmentationSpace)
            usual_child = dict(_AUGMENTED_DEFAULTS if augments else _CHILD_DEFAULTS)
            if augments and issubclass(self.method, SearchMethod):
                usual_child["epochs"] = self.method.usual_augmented_epochs
            ends = {"retrain_epochs": 30} if augments else {}
            return ends | {f"{_CHILD}.{name}": value for name, value in usual_child.items()}
        return {}


def named_in(values: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the options, out of the values of a configuration file."""
    found = {key: values[key] for key in ("space", "few_shot") if values.get(key) is not None}
    return {"method": str(values.get("method")), **{key: str(value) for key, value in found.items()}}


def _learner(
    name: str | None,
    method: str,
    kind: type[SearchMethod] | type[EpochwiseMethod],
    space: type[Space],
) -> tuple[str, type[FewShotMethod]] | None:
    """The few-shot method of a search, if the search can be for its networks."""
    if name is None:
        return None
    known = sorted(title for title, cls in methods().items() if issubclass(cls, FewShotMethod))
    if is_in_file(name):  # which would run, whether the user names it or a run's configuration does
        raise FphiError(f"--few-shot is {name!r}, in a file of Python; it must be one of {', '.join(known)}")
    try:
        learner = method_named(name)
    except FphiError as error:
        raise FphiError(f"--few-shot is {name!r}; it must be one of {', '.join(known)}") from error
    if not issubclass(learner, FewShotMethod):
        raise FphiError(f"--few-shot is {name!r}, which is a search; it must be one of {', '.join(known)}")
    if not _one_by_one(kind):
        why = "trains a supernet" if issubclass(kind, SupernetMethod) else "is one training"
        why = "lets children inherit weights" if issubclass(kind, SearchMethod) else why
        able = ", ".join(
            title for title, cls in methods().items() if _one_by_one(cls) and issubclass(space, cls.searches)
        )
        raise FphiError(
            f"{method} {why}, and few-shot candidates are meta-trained one by one from new weights: "
            f"choose one of {able}"
        )
    _require_for_few_shot(space)
    return name, learner


def _require_for_few_shot(space: type[Space]) -> None:
    """Raise unless few-shot learners can be trained with what is in a space."""
    if issubclass(space, AugmentationSpace):
        return
    if issubclass(space, ChoosesRate):
        why = "come with a learning rate, and few-shot learners have their own"
    elif not issubclass(space, TakesNorm):
        why = "have batch norms of their own, and few-shot learners need theirs"
    else:
        return
    able = [
        title
        for title, cls in spaces().items()
        if issubclass(cls, TakesNorm) and not issubclass(cls, ChoosesRate)
    ]
    raise FphiError(f"networks of the space {space.name} {why}: choose one of {', '.join(able)}")


def _one_by_one(kind: type[Method]) -> TypeGuard[type[SearchMethod]]:
    """Whether it has candidates trained one by one, from new weights."""
    return issubclass(kind, SearchMethod) and not kind.inherits
