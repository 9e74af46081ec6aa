"""A run directory: its configuration, and what is built from it."""

import platform
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
import yaml

from fphi import __version__
from fphi.cli.options import TaskOptions, fields_of
from fphi.errors import FphiError
from fphi.learnable import LearningAlgorithm
from fphi.methods import Method, Setting, get_method
from fphi.report.files import read_text, write_text
from fphi.run.checkpoint import BEST, load_parameters
from fphi.run.training import Training
from fphi.tasks import SineTasks, TaskDistribution

__all__ = ["RunConfig", "load_run", "setting_of", "versions"]

CONFIG = "config.yaml"
# What may differ between the command that began a run and the one that goes on with it.
_FREE = ("checkpoint_seconds", "tensorboard", "data_root")


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
        decisive = {k: v for k, v in self.to_dict().items() if k not in _FREE}
        return sha256(yaml.safe_dump(decisive, sort_keys=True).encode()).hexdigest()[:16]

    def write(self, run: Path) -> None:
        """Write ``config.yaml`` into the run's directory."""
        write_text(run / CONFIG, yaml.safe_dump(self.to_dict(), sort_keys=False))

    @classmethod
    def read(cls, run: Path) -> "RunConfig":
        """Read a run's ``config.yaml``."""
        if not (run / CONFIG).is_file():
            raise FphiError(f"{run} is no run directory (no {CONFIG}): give the --out of an fphi train")
        try:
            values = yaml.safe_load(read_text(run / CONFIG))
            return cls.from_dict(values)
        except (yaml.YAMLError, AttributeError, TypeError) as error:
            raise FphiError(
                f"{run / CONFIG} is damaged ({' '.join(str(error).split())}): restore it"
            ) from error

    def load_tasks(self, seed: int) -> TaskDistribution:
        """The run's tasks; the method decides the shape of its training tasks."""
        shape = self.method.train_shape(self.tasks.ways, self.tasks.shots)
        return self.tasks.load(seed, shape)

    def build(self, tasks: TaskDistribution) -> LearningAlgorithm:
        """The learner, initialised from the training seed."""
        torch.manual_seed(self.training.seed)
        return self.method.learner(setting_of(self.tasks, tasks))


def setting_of(options: TaskOptions, tasks: TaskDistribution) -> Setting:
    """What the tasks demand of a network, read off the first one."""
    shape = tuple(tasks.task(tasks.splits[-1], 0).query.x.shape[1:])
    return Setting(None if isinstance(tasks, SineTasks) else options.ways, options.shots, shape)


def load_run(
    run: Path, data_root: str | None, seed: int
) -> tuple[RunConfig, LearningAlgorithm, TaskDistribution]:
    """A trained run's configuration, its learner with the best parameters, and its tasks."""
    config = RunConfig.read(run)
    if data_root is not None:
        config = RunConfig.from_dict({**config.to_dict(), "data_root": data_root})
    tasks = config.load_tasks(seed)
    learner = config.build(tasks)
    load_parameters(run / BEST, learner)
    return config, learner, tasks


def versions() -> dict[str, str]:
    """The versions that a number was taken with."""
    return {"fphi": __version__, "torch": torch.__version__, "python": platform.python_version()}
