"""What a training is asked to do, and how it ended."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from fphi.errors import FphiError
from fphi.learnable.base import LearningAlgorithm
from fphi.optimize.gradient import GradientDescent
from fphi.run.ranks import Accelerator, Precision
from fphi.tasks.distribution import TaskDistribution

__all__ = ["Run", "Training", "TrainingResult", "Validate"]

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
        start_from: a run to begin with: what its best parameters have in common with this learner, by name
            and shape, is where they start, as an embedding network that another method learned; the
            rest starts at random. None: all of it does.
        freeze: a part of the learner that stays as it starts, by its name ("network": the embedding or what
            is adapted; names are those in best.safetensors). None: all of it learns.
        validate_every: meta-steps from one validation to the next; 0: at the end only.
        validation_tasks: tasks per validation.
        best_by: what makes the parameters of one validation better than those of another: a lower loss, or a
            higher accuracy (of equals, and of tasks without accuracy, the lower loss). Of a few hundred tasks
            an accuracy is coarse; a loss may rise while answers still get better, by growing too sure.
        patience: validations without improvement after which training stops; 0: never.
        checkpoint_seconds: seconds from one checkpoint to the next. Each validation, the end, SIGTERM
            and Ctrl-C save one too.
        log_every: meta-steps from one row of log.csv to the next; validations have a row too.
        chunk_size: tasks solved at once, which bounds the memory; None: as the device likes it.
        threads: worker threads per process; None: as many as torch uses.
        accelerator: kind of device.
        devices: number of devices in this machine, one process each.
        precision: "bf16-mixed" computes in bfloat16 where that is safe.
        tensorboard: whether to write event files for TensorBoard too.
    """

    steps: int = 2000
    meta_batch: int = 32
    seed: int = 0
    start_from: str | None = None
    freeze: str | None = None
    validate_every: int = 500
    validation_tasks: int = 200
    best_by: BestBy = "loss"
    patience: int = 0
    checkpoint_seconds: float = 30.0
    log_every: int = 10
    chunk_size: int | None = None
    threads: int | None = None
    accelerator: Accelerator = "cpu"
    devices: int = 1
    precision: Precision = "32-true"
    tensorboard: bool = True

    def __post_init__(self) -> None:
        lowest = {"steps": 1, "meta_batch": 1, "log_every": 1, "devices": 1, "validation_tasks": 1}
        lowest |= {"validate_every": 0, "patience": 0, "checkpoint_seconds": 0}
        lowest |= {name: 1 for name in ("chunk_size", "threads") if getattr(self, name) is not None}
        for name, bound in lowest.items():
            if not getattr(self, name) >= bound:
                raise FphiError(f"{name} is {getattr(self, name)}; it must be at least {bound}")
        if not -(2**63) <= self.seed < 2**64:
            raise FphiError(f"seed is {self.seed}; it must fit into 64 bits")
        if self.best_by not in get_args(BestBy):
            raise FphiError(f"best_by is {self.best_by!r}; choose one of {', '.join(get_args(BestBy))}")
        if self.devices > self.meta_batch:
            raise FphiError(
                f"meta_batch is {self.meta_batch} and devices {self.devices}; each device needs a task"
            )


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


@dataclass(frozen=True)
class Run:
    """What a run consists of, the same in every process and from step to step."""

    learner: LearningAlgorithm
    optimizer: GradientDescent
    tasks: TaskDistribution
    training: Training
    out: Path
    validate: Validate | None
    fingerprint: str
    texts: Mapping[str, str] = field(default_factory=dict)
