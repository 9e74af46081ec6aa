"""A run directory: its configuration, and what is built from it."""

import platform
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
import yaml

from fphi import __version__
from fphi.cli.options import Parser, TaskOptions, fields_of
from fphi.errors import FphiError
from fphi.learnable import LearningAlgorithm
from fphi.methods import Method, Setting, get_method
from fphi.optimize.gradient import GradientDescent
from fphi.report.files import read_text
from fphi.run.checkpoint import BEST, LAST, load_parameters
from fphi.run.history import HISTORY
from fphi.run.training import Training
from fphi.tasks import SineTasks, TaskDistribution

__all__ = [
    "CONFIG",
    "FREE",
    "RunConfig",
    "add_options",
    "load_run",
    "read_values",
    "resume_command",
    "setting_of",
    "versions",
    "written_fingerprint",
]

CONFIG = "config.yaml"
# What may differ between the command that began a run and the one that goes on with it.
FREE = ("checkpoint_seconds", "tensorboard", "data_root")


@dataclass(frozen=True)
class RunConfig:
    """Everything that a run is made of: a method with its options, tasks, and training."""

    name: str
    method: Method
    tasks: TaskOptions
    training: Training

    def to_dict(self) -> dict[str, Any]:
        """Flat, in the order of the command line; ``method`` holds the name."""
        return {"method": self.name, **asdict(self.tasks), **asdict(self.training), **asdict(self.method)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "RunConfig":
        method = get_method(str(values.get("method")))
        return cls(
            str(values["method"]),
            fields_of(method, values),
            fields_of(TaskOptions, values),
            fields_of(Training, values),
        )

    @property
    def fingerprint(self) -> str:
        """A digest of all that decides a run's course."""
        return _digest(self.to_dict())

    def to_yaml(self) -> str:
        """The text of ``config.yaml``."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False)

    @classmethod
    def read(cls, run: Path) -> "RunConfig":
        """Read a run's ``config.yaml``.

        Raises:
            FphiError: it is missing, damaged, or holds what no option can be.
        """
        path = run / CONFIG
        if (run / HISTORY).is_file():
            raise FphiError(f"{run} is the directory of a search: give the --out of an fphi train")
        if not path.is_file():
            raise FphiError(f"{run} is no run directory (no {CONFIG}): give the --out of an fphi train")
        values = read_values(path)
        try:
            parser = Parser(f"train {values.get('method')}", "")
            add_options(parser, str(values.get("method")))
            return cls.from_dict(parser.check(values))
        except FphiError as error:
            raise FphiError(f"{path} is damaged ({error}); restore it") from error

    def load_tasks(self, seed: int, splits: Sequence[str] | None = None) -> TaskDistribution:
        """The run's tasks, of these splits or all; the method decides the shape of its training tasks."""
        trained = splits is None or "train" in splits
        shape = self.method.train_shape(self.tasks.ways, self.tasks.shots) if trained else None
        return self.tasks.load(seed, shape, self.method.train_order, splits)

    def build(self, tasks: TaskDistribution) -> LearningAlgorithm:
        """The learner, initialised from the training seed."""
        torch.manual_seed(self.training.seed)
        with self.its_options():
            return self.method.learner(setting_of(self.tasks, tasks))

    def optimizer(self, learner: LearningAlgorithm) -> GradientDescent | None:
        """What moves the learner's parameters."""
        with self.its_options():
            return self.method.optimizer(learner)

    @contextmanager
    def its_options(self) -> Iterator[None]:
        """What a learner or an optimizer refuses came from the user: an option out of its range."""
        try:
            yield
        except ValueError as error:
            raise FphiError(
                f"{self.name} cannot be set up so ({error}); see fphi train {self.name} --help"
            ) from error


def add_options(parser: Parser, name: str) -> None:
    """The flags of all that a run of the method ``name`` is made of."""
    parser.add_argument("--method", type=str, default=name, help="the method's name, as in config.yaml")
    for cls in (TaskOptions, Training, get_method(name)):
        parser.add_dataclass(cls)


def read_values(path: Path) -> dict[str, Any]:
    """The options in a YAML file.

    Raises:
        FphiError: it cannot be read, or is something else than names with plain values.
    """
    try:
        values = yaml.safe_load(read_text(path))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise FphiError(f"{path} is damaged ({' '.join(str(error).split())}); restore it") from error
    # Plain values only: YAML can name a list in a list in a list, and grow without bound when it is used.
    plain = (str, int, float, bool, type(None))
    if not isinstance(values, dict) or not all(
        isinstance(k, str) and isinstance(v, plain) for k, v in values.items()
    ):
        raise FphiError(
            f"{path} holds something else than options with plain values; restore it, or choose another file"
        )
    return values


def written_fingerprint(run: Path) -> str:
    """A run's fingerprint, of its ``config.yaml`` as written: options that a later fphi adds do not count."""
    return _digest(read_values(run / CONFIG))


def _digest(values: Mapping[str, Any]) -> str:
    decisive = {k: v for k, v in values.items() if k not in FREE}
    return sha256(yaml.safe_dump(decisive, sort_keys=True).encode()).hexdigest()[:16]


def setting_of(options: TaskOptions, tasks: TaskDistribution) -> Setting:
    """What the tasks demand of a network, read off the first one."""
    shape = tuple(tasks.task(tasks.splits[-1], 0).query.x.shape[1:])
    return Setting(None if isinstance(tasks, SineTasks) else options.ways, options.shots, shape)


def load_run(
    run: Path, seed: int, split: str | None = None, **other: str | int | None
) -> tuple[RunConfig, LearningAlgorithm, TaskDistribution]:
    """A trained run's configuration, its learner with the best parameters, and its tasks.

    Args:
        run: its directory.
        seed: of the tasks.
        split: that tasks are wanted of; None: all.
        other: options of the tasks or the method to test with in place of the run's own; None: the own.

    Raises:
        FphiError: the run is damaged, or its learner cannot solve tasks of another size.
    """
    config = RunConfig.read(run)
    _require_best(run, config)
    config = _with(config, {key: value for key, value in other.items() if value is not None})
    tasks = config.load_tasks(seed, None if split is None else [split])
    learner = config.build(tasks)
    note = load_parameters(run / BEST, learner)
    if note.get("fingerprint") not in (None, "", written_fingerprint(run)):
        raise FphiError(f"{run / CONFIG} was changed after the training; restore it, or train again with it")
    return config, learner, tasks


def _with(config: RunConfig, other: dict[str, Any]) -> RunConfig:
    for size in config.method.bound_to:
        trained = getattr(config.tasks, size)
        if other.get(size, trained) != trained:
            raise FphiError(
                f"{config.name} was trained with --{size} {trained} and is bound to that; "
                f"train it with --{size} {other[size]}"
            )
    of_tasks = {field.name for field in fields(TaskOptions)}
    of_method = other.keys() - of_tasks
    for name in of_method - {field.name for field in fields(config.method)}:
        raise FphiError(f"{config.name} has no option --{name.replace('_', '-')}; leave it out")
    with config.its_options():
        method = replace(config.method, **{name: other[name] for name in of_method})
    tasks = replace(config.tasks, **{name: other[name] for name in other.keys() & of_tasks})
    return replace(config, method=method, tasks=tasks)


def _require_best(run: Path, config: RunConfig) -> None:
    if (run / BEST).is_file():
        return
    if (run / LAST).is_file():
        raise FphiError(
            f"{run} has no {BEST} yet: it was stopped before its first validation; go on with: "
            + resume_command(config.name, run)
        )
    raise FphiError(f"{run} holds no trained parameters (no {BEST}); restore it, or train again")


def resume_command(name: str, out: Path) -> str:
    """What to type to go on with a run."""
    return shlex.join(["fphi", "train", name, "--out", str(out), "--resume"])


def versions() -> dict[str, str]:
    """The versions that a number was taken with."""
    return {"fphi": __version__, "torch": torch.__version__, "python": platform.python_version()}
