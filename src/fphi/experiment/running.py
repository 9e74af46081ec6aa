"""The options that every kind of run has: with how many seeds, where, and who is told of it."""

from dataclasses import dataclass

from fphi.experiment.parser import at_least
from fphi.ranges import count, number
from fphi.run.meta.loggers import logger_names
from fphi.run.search.executors import Executor, ExecutorKind, make_executor

__all__ = ["ExecutorOptions", "LoggerOptions", "SeedsOptions"]


@dataclass(frozen=True)
class SeedsOptions:
    """The same with many seeds.

    Args:
        seeds: runs, with seeds from --seed on, each in a folder of its own within --out, side by side in the
            processes or on the Ray cluster that the options of the executor name. If not given 1; with
            --resume at least as many as there are.
    """

    seeds: int | None = count(None, 10_000)


@dataclass(frozen=True)
class ExecutorOptions:
    """Where candidates are evaluated.

    Args:
        executor: in-process (one after another, and with one seed the same search every time), processes
            on this machine, or ray: a Ray cluster, with the extra fphi[ray].
        workers: candidates at a time, for the latter two; 2 if not given.
        ray_address: of a running Ray cluster; one is started on this machine if not given.
        ray_cpus: CPUs that each has for itself on Ray; a share of one is possible.
        ray_gpus: GPUs that each has for itself on Ray; a share of one is possible.
    """

    executor: ExecutorKind = "in-process"
    workers: int | None = count(None, 1024)
    ray_address: str | None = None
    ray_cpus: float = number(1.0, 0, 1024, open=True)
    ray_gpus: float = number(0.0, 0, 1024)

    def make(self) -> Executor:
        """The executor; to be closed."""
        at_least(1, workers=self.workers)
        usual = 1 if self.executor == "in-process" else 2
        shares = self.ray_cpus, self.ray_gpus
        return make_executor(self.executor, self.workers or usual, self.ray_address, *shares)


@dataclass(frozen=True)
class LoggerOptions:
    """Where the run is shown.

    Args:
        logger: services that are told of it in the end, separated by commas: csv (its files, always),
            tensorboard, wandb, mlflow, each but csv with the extra of its name, and in the run's folder
            unless the variables of the service say otherwise.
    """

    logger: str = "csv"

    def __post_init__(self) -> None:
        """Refuse services that there are not."""
        logger_names(self.logger)
