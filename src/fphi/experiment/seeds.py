"""Several runs that differ in their seed alone, side by side, and one table of them."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fphi.errors import FphiError
from fphi.experiment.config import CONFIG, Config
from fphi.experiment.running import ExecutorOptions
from fphi.experiment.search.options import BudgetOptions
from fphi.experiment.search.steps import StoppedError
from fphi.experiment.training import configured, folder_for, named_method, train
from fphi.experiment.weighting.options import ExampleOptions
from fphi.experiment.weighting.result import RESULT
from fphi.methods.base import FewShotMethod, Method
from fphi.ranges import checked
from fphi.report.files import read_text
from fphi.report.seed_runs import LESS, SeedRun, SeedRuns, shown
from fphi.run.disk.checkpoint import LAST
from fphi.run.disk.directory import claim
from fphi.run.disk.files import parse_json, write_text
from fphi.run.disk.interrupt import interrupts
from fphi.run.meta.training import Training, TrainingResult
from fphi.run.search.executors import Executor, ExecutorKind, make_executor
from fphi.run.search.history import HISTORY
from fphi.run.show.say import say
from fphi.tasks import TaskDistribution

__all__ = [
    "SEEDS",
    "SeedRun",
    "SeedRuns",
    "seed_folder",
    "seeds_in",
    "train_seeds",
    "train_seeds_as_configured",
]

SEEDS = "seeds.json"
"""What a folder of such runs has: their seeds."""
_RESULTS = (LAST, HISTORY, RESULT)  # what a run has kept once it has come to anything


@dataclass(frozen=True)
class _Job:
    """What a process is told of a run: it can be sent anywhere."""

    options: Mapping[str, Any]
    folder: Path
    seed: int
    held: str  # what the folder has when there is something to go on with


def seeds_in(out: Path) -> tuple[int, ...]:
    """The seeds of a folder of such runs; () if it is none.

    Raises:
        FphiError: it is damaged.
    """
    path = out / SEEDS
    if not path.is_file():
        return ()
    with suppress(ValueError, TypeError):
        seeds = parse_json(read_text(path))
        if isinstance(seeds, list) and seeds and all(type(seed) is int for seed in seeds):
            return tuple(seeds)
    raise FphiError(f"{path} is damaged: it has to be a list of seeds; restore it")


def seed_folder(out: Path, seed: int) -> Path:
    """Of one run: an ordinary one."""
    return out / f"seed-{seed}"


@checked()
def train_seeds(
    method: str | Method | type[Method],
    seeds: int = 5,
    *,
    out: Path | str | None = None,
    resume: bool = False,
    progress: bool = False,
    executor: ExecutorKind = "in-process",
    workers: int | None = None,
    ray_address: str | None = None,
    **options: Any,
) -> SeedRuns:
    """Train a method, or search by it, with several seeds, as ``fphi train METHOD --seeds N`` does.

    Args:
        method: its name, ``FILE.py:NAME``, or a method with options.
        seeds: runs, with seeds from the option ``seed`` on, each in ``out/seed-N``; with ``resume`` at least
            those that there are.
        out: the folder of folders; ``runs/METHOD`` if None.
        resume: go on with the runs there; those that have ended are not repeated, further ones begin.
        progress: whether to say on stderr how each ended.
        executor: where they run: processes of this machine, as many as there are cores, or "ray".
        workers: runs at a time.
        ray_address: of a running Ray cluster.
        options: of `fphi.train`, as all of them have them.

    Raises:
        FphiError: an option does not exist or does not fit, the folder is taken, or no run came to its end.
    """
    if isinstance(options.get("tasks"), TaskDistribution):
        raise FphiError(
            "tasks that are given as an object stay in this process: name them, or train seed by seed"
        )
    name, own = named_method(method)
    folder = folder_for(name, out)
    kept = seeds_in(folder) if resume else ()
    config = configured(name, {**own, **options}, folder, seed_folder(folder, kept[0]) if kept else None)
    where = ExecutorOptions(executor, workers, ray_address)
    return train_seeds_as_configured(config, folder, seeds, where, resume=resume, progress=progress)


def train_seeds_as_configured(
    config: Config,
    out: Path,
    count: int,
    executor: ExecutorOptions,
    *,
    resume: bool = False,
    progress: bool = True,
) -> SeedRuns:
    """Train with seeds from the configuration's on; see `train_seeds`."""
    first = _seeded(config).seed
    seeds = sorted({*range(first, first + count), *(seeds_in(out) if resume else ())})
    held = LAST if isinstance(config.method, FewShotMethod) else CONFIG
    own = [_of_seed(config, seed) for seed in seeds]
    jobs = [
        _Job(one.to_dict(), seed_folder(out, seed), seed, held) for seed, one in zip(seeds, own, strict=True)
    ]
    new = [out / SEEDS, *(job.folder / CONFIG for job in jobs if not (job.folder / CONFIG).is_file())]
    with claim(out, resume, (SEEDS, CONFIG)), _gone_if_refused([] if resume else new, jobs):
        for job, one in zip(jobs, own, strict=True):  # from now on all of them can be resumed
            if not (job.folder / CONFIG).is_file():
                write_text(job.folder / CONFIG, one.to_yaml(job.folder))
        write_text(out / SEEDS, json.dumps(seeds) + "\n")
        with closing(_executor(executor, len(seeds))) as made:
            runs, stopped = _run(made, jobs, progress)
        found = SeedRuns(config.name, tuple(sorted(runs, key=lambda run: run.seed)), stopped)
        if not stopped and not found.ended:
            raise FphiError(
                f"none of {len(seeds)} runs came to its end; the first failed: {found.runs[0].failure}"
            )
    return found


@contextmanager
def _gone_if_refused(new: Sequence[Path], jobs: Sequence[_Job]) -> Iterator[None]:
    """Take files away again where no run has kept anything: they would keep the mended command out."""
    try:
        yield
    except FphiError:
        if not any((job.folder / name).is_file() for job in jobs for name in _RESULTS):
            for path in new:
                path.unlink(missing_ok=True)
        raise


def _run(executor: Executor, jobs: Sequence[_Job], progress: bool) -> tuple[list[SeedRun], bool]:
    """Those that have ended, and whether a signal asked for a pause."""
    left, runs = list(reversed(jobs)), list[SeedRun]()
    running: dict[Future[dict[str, float]], _Job] = {}
    with interrupts() as interrupt:
        while not interrupt.requested and (left or running):
            while left and len(running) < executor.slots:
                job = left.pop()
                running[executor.submit(_train, job)] = job
            done, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in done:
                job = running.pop(future)
                error = future.exception()
                if isinstance(error, StoppedError):
                    return runs, True
                if error is not None and not isinstance(error, FphiError | RuntimeError):
                    raise error
                runs.append(SeedRun(job.seed, {} if error else future.result(), str(error or "")))
                if progress:
                    say(f"seed {job.seed} ({len(runs)}/{len(jobs)}): {_line(runs[-1])}")
        return runs, bool(left or running)


def _train(job: _Job) -> dict[str, float]:
    """One run, from its beginning or from where it stands, to its end."""
    options = dict(job.options)
    begun = (job.folder / job.held).is_file()
    result = train(options.pop("method"), out=job.folder, resume=begun, **options)
    if result is None:
        raise FphiError("it learns nothing across tasks, and one seed is like another")
    if isinstance(result, TrainingResult):
        if result.interrupted:
            raise StoppedError(f"at step {result.step}")
        numbers = {
            "validation accuracy": result.validation_accuracy,
            "validation loss": result.validation_loss,
        }
        numbers |= {"best step": result.best_step, "seconds": result.seconds}
        return {name: float(value) for name, value in numbers.items() if value is not None}
    return _numbers_of(result)


def _numbers_of(result: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a search's, or a weighting run's, result."""
    if "trainings" in result:
        trainings, own = result["trainings"], result["method"]
        reached = {f"test accuracy, {name}": record["test_accuracy"] for name, record in trainings.items()}
        gains = {name: gain["mean"] for name, gain in result["differences"].items()}
        return reached | {f"accuracy, {own}{LESS}{name}": gain for name, gain in gains.items()}
    found = {"validation accuracy": result.get("validation_accuracy")}
    searches = {"": result, "random search, ": result.get("control") or {}}
    for name, record in searches.items():
        found[f"{name}test accuracy"] = record.get("retrained", {}).get("test_accuracy")
    found["seconds"] = result.get("seconds")
    return {name: float(value) for name, value in found.items() if value is not None}


def _of_seed(config: Config, seed: int) -> Config:
    """Of a run that evaluates its candidates one after another in its process."""
    own = config.having(replace(_seeded(config), seed=seed))
    return own.having(ExecutorOptions()) if config.has(ExecutorOptions) else own


def _seeded(config: Config) -> Training | BudgetOptions | ExampleOptions:
    if config.has(Training):
        return config.part(Training)
    return config.part(BudgetOptions) if config.has(BudgetOptions) else config.part(ExampleOptions)


def _executor(options: ExecutorOptions, count: int) -> Executor:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = options.workers or min(count, cores)
    if options.executor == "in-process":
        return make_executor("processes" if workers > 1 else "in-process", workers)
    return replace(options, workers=workers).make()


def _line(run: SeedRun) -> str:
    return run.failure or ", ".join(f"{name} {shown(name, value)}" for name, value in run.numbers.items())
