"""What a training is asked to do, and how it ended."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from fphi.errors import FphiError
from fphi.learnable.base import LearningAlgorithm
from fphi.optimize.gradient import GradientDescent
from fphi.ranges import count, number, require_ranges, weight
from fphi.run.disk.files import Json
from fphi.run.meta.loggers import logger_names
from fphi.run.meta.logs import MetricsLogger
from fphi.run.meta.ranks import Accelerator, Precision
from fphi.tasks.distribution import TaskDistribution

__all__ = ["MetaTraining", "Training", "TrainingResult", "Validate", "duration_seconds", "threads_of"]

# To accuracy (a fraction; None or nan where the tasks have none) and mean task loss on validation tasks.
Validate = Callable[[LearningAlgorithm], tuple[float | None, float]]
BestBy = Literal["loss", "accuracy"]


@dataclass(frozen=True)
class Training:
    """How long and how the outer loop runs.

    Args:
        steps: meta-steps.
        meta_batch: tasks per meta-step, over all devices together.
        seed: of the random numbers that learning draws (dropout); on the command line, of the initial
            parameters and the training tasks too. Test tasks have their own seed.
        start_from: the folder of another run. Parameters of this learner that have the name and the shape of
            one in its best.safetensors begin as that one: an embedding network, say, that another method
            has learned. All others begin at random. None: all begin at random.
        weights: a file of parameters for the network to begin with, by name and shape: safetensors, or a
            state_dict that torch saved.
        freeze: a part of the learner that is not trained, by its name: "network" for the embedding, or for
            the network that is adapted. Names are those in best.safetensors. None: all is trained.
        augmentation: what is done to the images of training tasks, each drawn for by itself: a policy of the
            literature by name (trivialaugment, randaugment, …), or the folder of a search, or a file of it.
            None: nothing but what the tasks' own options say.
        validate_every: meta-steps from one validation to the next; 0: at the end only.
        validation_tasks: tasks per validation.
        best_by: what makes the parameters of one validation better than those of another: a lower loss, or a
            higher accuracy (of equals, and of tasks without accuracy, the lower loss). Of a few hundred tasks
            an accuracy is coarse; a loss may rise while answers still get better, by growing too sure.
        patience: validations without improvement after which training stops; 0: never.
        checkpoint_seconds: seconds from one checkpoint to the next. Each validation, the end, SIGTERM
            and Ctrl-C save one too.
        log_every: meta-steps from one row of log.csv to the next; validations have a row too.
        chunk_size: tasks solved at once, which bounds the memory; None: as the device likes it. With a number
            processes take whole chunks, whose gradients are summed in float64: so a learner that draws no
            random numbers comes to the same bits however many processes there are.
        threads: worker threads per process; None: as many as torch uses.
        accelerator: kind of device.
        devices: number of devices of each machine, one process each.
        nodes: number of machines, on each of which torchrun or SLURM starts this command.
        precision: "bf16-mixed" computes in bfloat16 where that is safe.
        logger: where its numbers are shown, separated by commas: csv (always), tensorboard, wandb, mlflow,
            each but csv with the extra of its name, and in the run's folder unless the variables of the
            service (WANDB_MODE, MLFLOW_TRACKING_URI) say otherwise.
        max_time: when the training ends at the latest, after validation, with what is best by then: "90s",
            "10m", "2h". A step that is not done by then is given up; several processes finish it. The
            learning rate falls as for all steps. None: after all steps.
    """

    steps: int = count(2000, 1_000_000_000)
    meta_batch: int = count(32)
    seed: int = number(0, -(2**63), 2**64 - 1)
    start_from: str | None = None
    weights: str | None = None
    freeze: str | None = None
    augmentation: str | None = None
    validate_every: int = count(500, 1_000_000_000, least=0)
    validation_tasks: int = count(200)
    best_by: BestBy = "loss"
    patience: int = count(0, 1_000_000_000, least=0)
    checkpoint_seconds: float = weight(30.0, 1e9)
    log_every: int = count(10, 1_000_000_000)
    chunk_size: int | None = count(None)
    threads: int | None = count(None, 1024)
    accelerator: Accelerator = "cpu"
    devices: int = count(1, 1024)
    nodes: int = count(1, 4096)
    precision: Precision = "32-true"
    logger: str = "csv"
    max_time: str | None = None

    def __post_init__(self) -> None:
        require_ranges(type(self), vars(self))
        lowest = {
            "steps": 1,
            "meta_batch": 1,
            "log_every": 1,
            "devices": 1,
            "nodes": 1,
            "validation_tasks": 1,
        }
        lowest |= {"validate_every": 0, "patience": 0, "checkpoint_seconds": 0}
        lowest |= {name: 1 for name in ("chunk_size", "threads") if getattr(self, name) is not None}
        for name, bound in lowest.items():
            if not getattr(self, name) >= bound:
                raise FphiError(f"{name} is {getattr(self, name)}; it must be at least {bound}")
        if not -(2**63) <= self.seed < 2**64:
            raise FphiError(f"seed is {self.seed}; it must fit into 64 bits")
        if self.best_by not in get_args(BestBy):
            raise FphiError(f"best_by is {self.best_by!r}; choose one of {', '.join(get_args(BestBy))}")
        logger_names(self.logger)
        if self.max_time is not None:
            duration_seconds(self.max_time)
        if self.nodes * self.devices > self.meta_batch:
            machines = f" on each of {self.nodes} nodes" if self.nodes > 1 else ""
            raise FphiError(
                f"meta_batch is {self.meta_batch} and devices {self.devices}{machines}; "
                "each device needs a task"
            )


def duration_seconds(text: str) -> float:
    """Seconds of a duration with its unit.

    Raises:
        FphiError: it is none.

    >>> duration_seconds("10m"), duration_seconds("1.5h"), duration_seconds("90s")
    (600.0, 5400.0, 90.0)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h)", text)
    if match is None or not float(match[1]) > 0:
        raise FphiError(f"max_time is {text!r}; give a duration such as 90s, 10m or 2h")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]


def threads_of(training: Training) -> int:
    """Worker threads of each process, on which the last digits of its gradients depend."""
    return training.threads or (torch.get_num_threads() if training.accelerator == "cpu" else 1)


@dataclass(frozen=True)
class TrainingResult:
    """How a training ended.

    Args:
        step: meta-steps done, in all sessions.
        seconds: time they took.
        best_step: meta-steps done when the best parameters were found; None: never validated.
        validation_accuracy: theirs, a fraction.
        validation_loss: theirs.
        interrupted: a signal ended it; it can be resumed.
        stopped_early: patience ended it.
    """

    step: int
    seconds: float
    best_step: int | None
    validation_accuracy: float | None
    validation_loss: float | None
    interrupted: bool
    stopped_early: bool

    def table(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The same as a header and a line of texts, without what was not measured."""
        named = {
            "steps": self.step,
            "seconds": round(self.seconds),
            "best step": self.best_step,
            "validation accuracy": self.validation_accuracy,
            "validation loss": self.validation_loss,
        }
        told = {name: str(value) for name, value in named.items() if value is not None}
        return tuple(told), tuple(told.values())

    def __str__(self) -> str:
        """One line: how long it was trained, how it ended, and the best that was found."""
        ended = ", interrupted" if self.interrupted else ", stopped early" if self.stopped_early else ""
        line = f"{self.step} steps in {self.seconds:.0f} s{ended}"
        if self.best_step is None or self.validation_loss is None:
            return f"{line}; never validated"
        line += f"; best after {self.best_step}: validation loss {self.validation_loss:.4g}"
        if self.validation_accuracy is None:
            return line
        return f"{line}, accuracy {100 * self.validation_accuracy:.1f} %"


@dataclass(frozen=True)
class MetaTraining:
    """All that one call of `train` is given; it is the same in every process and from step to step.

    Args:
        learner: what is trained, in place.
        optimizer: over its parameters.
        tasks: with a split "train".
        training: how long, how often.
        out: the run's folder; None: no folder, and nothing is kept.
        validate: see `train`.
        fingerprint: of the configuration.
        texts: further files of the run, by their names.
        note: kept with the best parameters.
        loggers: told of each row of the log too.
        options: of the run, for the loggers that show them.
        pictures: of the run's folder, for the loggers that show them, PNG files by name.
        on_resume: see `train`.
    """

    learner: LearningAlgorithm
    optimizer: GradientDescent
    tasks: TaskDistribution
    training: Training
    out: Path | None
    validate: Validate | None
    fingerprint: str
    texts: Mapping[str, str] = field(default_factory=dict)
    note: Mapping[str, Json] = field(default_factory=dict)
    loggers: Sequence[MetricsLogger] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    pictures: Callable[[Path], Mapping[str, bytes]] = lambda out: {}
    on_resume: Callable[[], None] = lambda: None

    @property
    def folder(self) -> Path:
        """Of a run that has one."""
        assert self.out is not None
        return self.out
