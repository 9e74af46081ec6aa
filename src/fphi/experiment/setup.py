"""What a few-shot configuration names, built: tasks, learner, optimizer."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import torch

from fphi.errors import FphiError
from fphi.experiment.config import Config
from fphi.experiment.plugins import is_in_file, load_network, load_tasks_object
from fphi.learnable import LearningAlgorithm
from fphi.learnable.augmentation import PUBLISHED, AugmentationPolicy, Schedule, published
from fphi.learnable.augmentation.task_images import changing, fill_of_tasks
from fphi.methods.base import FewShotMethod, Setting
from fphi.optimize import GradientDescent
from fphi.run.disk.augmentations import augmentation_text, read_augmentation
from fphi.run.meta.training import Training
from fphi.tasks import GIVEN, FewShotTasks, TaskDistribution, TrainingTasks, pooled, shuffled
from fphi.tasks.division import Division
from fphi.tasks.options import TaskOptions
from fphi.within.trial import require_shapes

__all__ = ["FewShotRun", "require_kept", "setting_of", "tasks_named"]


@dataclass(frozen=True)
class FewShotRun:
    """A few-shot configuration with its typed parts, and what is built from it.

    Args:
        config: the whole; with given tasks it says so in place of naming others.
        given: tasks in place of those that the configuration names; None: these.
        division: the classes of each split, of a run that was trained on a folder of images.
    """

    config: Config
    given: TaskDistribution | None = None
    division: Division | None = None

    def __post_init__(self) -> None:
        """Let the configuration name no tasks but those that are used."""
        if self.given is not None:
            object.__setattr__(self, "config", self.config.having(replace(self.options, tasks=GIVEN)))

    @property
    def method(self) -> FewShotMethod:
        """With its options."""
        method = self.config.method
        assert isinstance(method, FewShotMethod)
        return method

    @property
    def options(self) -> TaskOptions:
        """Of the tasks."""
        return self.config.part(TaskOptions)

    @property
    def training(self) -> Training:
        """How it is trained."""
        return self.config.part(Training)

    def tasks(self, seed: int, splits: Sequence[str] | None = None) -> TaskDistribution:
        """The tasks of these splits or all; the method says what its training tasks are like.

        Raises:
            FphiError: they were given in Python, and are not given now.
        """
        return self._augmented(self._tasks(seed, splits))

    def _augmented(self, tasks: TaskDistribution) -> TaskDistribution:
        named = self.training.augmentation
        if named is None or "train" not in tasks.splits:
            return tasks
        if not isinstance(tasks, FewShotTasks):
            raise FphiError(f"--augmentation {named} is for tasks of images; leave it out")
        return tasks.with_training_images(changing(policy_named(named, tasks)))

    def policy_text(self) -> str | None:
        """What is done to training images where a file says it, as that file has it; None: none does."""
        named = self.training.augmentation
        return (
            None if named is None or named in PUBLISHED else augmentation_text(read_augmentation(Path(named)))
        )

    def _tasks(self, seed: int, splits: Sequence[str] | None) -> TaskDistribution:
        wanted = self.method.train_tasks(self.options.ways, self.options.shots)
        if self.given is not None:
            return _as_wanted(self.given, wanted, seed)
        require_kept(self.options.tasks)
        return tasks_named(self.options, seed, wanted, splits, self.division)

    def learner(self, setting: Setting) -> LearningAlgorithm:
        """The learner, initialised from the training seed."""
        torch.manual_seed(self.training.seed)
        with self._options_of_the_user():
            learner = self.method.learner(setting)
        require_shapes(learner)
        return learner

    def optimizer(self, learner: LearningAlgorithm) -> GradientDescent | None:
        """What moves the learner's parameters; None: nothing is learned across tasks."""
        with self._options_of_the_user():
            return self.method.optimizer(learner)

    def setting(self, tasks: TaskDistribution) -> Setting:
        """What the tasks demand of the network, and whose network it is."""
        return self.with_network(setting_of(tasks))

    def with_network(self, setting: Setting) -> Setting:
        """With the network of a file, if the method is given one."""
        network = getattr(self.method, "network", None)
        if not isinstance(network, str) or not is_in_file(network):
            return setting
        return replace(setting, network=load_network(network))

    def changed(self, other: Mapping[str, Any]) -> "FewShotRun":
        """With other options of the tasks or the method, as a test has them.

        Raises:
            FphiError: the method has no such option, or its training has fixed it.
        """
        of_tasks = {key: value for key, value in other.items() if hasattr(self.options, key)}
        options = replace(self.options, **of_tasks)
        for size in () if self.method.fits_any else self.method.bound_to:
            trained, asked = getattr(self.options, size), getattr(options, size)
            if asked != trained and size not in (*self.options.own_sizes, *options.own_sizes):
                raise FphiError(
                    f"{self.config.name} was trained with --{size} {trained} and is bound to that; "
                    f"train it with --{size} {asked}"
                )
        of_method = {key: value for key, value in other.items() if key not in of_tasks}
        for name in of_method:
            if not hasattr(self.method, name):
                raise FphiError(f"{self.config.name} has no option --{name.replace('_', '-')}; leave it out")
        with self._options_of_the_user():
            method = replace(self.method, **of_method)
        config = self.config.having(options).having(method)
        division, data = self.division, of_tasks.get("tasks", self.options.tasks)
        if division is not None and Path(data).resolve() != Path(self.options.tasks).resolve():
            division = replace(division, elsewhere=True)
        return replace(self, config=config, division=division)

    @contextmanager
    def _options_of_the_user(self) -> Iterator[None]:
        """What a learner or an optimizer refuses came from the user: an option out of its range."""
        try:
            yield
        except ValueError as error:
            name = self.config.name
            raise FphiError(f"{name} cannot be set up so ({error}); see fphi train {name} --help") from error


def policy_named(named: str, tasks: FewShotTasks) -> AugmentationPolicy:
    """A policy of the literature, filled up with these images' mean colour, or that of a file or search.

    Raises:
        FphiError: there is none, or it is a schedule.
    """
    known = named in PUBLISHED
    if not known and not Path(named).exists():
        raise FphiError(
            f"--augmentation is {named!r}, which is no file or folder, and none of {', '.join(PUBLISHED)}"
        )
    found = published(named) if known else read_augmentation(Path(named))
    if isinstance(found, Schedule):
        raise FphiError(
            f"--augmentation {named} is a schedule, which goes by the epochs of one large task; name a policy"
        )
    return replace(found, fill=fill_of_tasks(tasks)) if known else found  # type: ignore[type-var]


def require_kept(tasks: str) -> None:
    """Raise if a run names its tasks so that nobody finds them, since they were given in Python."""
    if tasks == GIVEN:
        raise FphiError(
            f"the tasks of this run were {GIVEN}, and it keeps none of them: give them again as tasks=… of "
            "fphi.train, fphi.evaluate or fphi.compare, or name others to test it on"
        )


def setting_of(tasks: TaskDistribution) -> Setting:
    """What the tasks demand of a network, read off the first one: of development, where there are such."""
    split = "validation" if "validation" in tasks.splits else tasks.splits[-1]
    first, ways = tasks.task(split, 0).query, tasks.ways
    return Setting(
        ways,
        tasks.shots,
        tuple(first.x.shape[1:]),
        classes=tasks.pooled_classes,
        dtype=first.x.dtype,
        numbers=1 if ways is not None else prod(first.y.shape[1:]),
    )


def tasks_named(
    options: TaskOptions,
    seed: int = 0,
    train: TrainingTasks | None = None,
    splits: Sequence[str] | None = None,
    division: Division | None = None,
) -> TaskDistribution:
    """The tasks that options name, be they of fphi or of a file, which says their size itself.

    Args:
        options: which.
        seed: see `TaskOptions.load`, as the rest.
        train: see there; a file's own training tasks come in this order.
        splits: see there.
        division: see there.

    Raises:
        FphiError: a file has none, or an option does not fit.
    """
    if options.file_and_name is None:
        return options.load(seed, train, splits, division=division)
    return _as_wanted(load_tasks_object(options.tasks), train or TrainingTasks(), seed)


def _as_wanted(tasks: TaskDistribution, wanted: TrainingTasks, seed: int) -> TaskDistribution:
    """Tasks that were made before, with minibatches in training and in the order that the method asks for."""
    return shuffled(pooled(tasks, wanted) if isinstance(tasks, FewShotTasks) else tasks, wanted.order, seed)
