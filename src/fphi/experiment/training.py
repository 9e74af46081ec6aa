"""Training in Python, by the names of the command line."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fphi.errors import FphiError
from fphi.experiment.classes import read_division
from fphi.experiment.config import Config
from fphi.experiment.extending import command_again
from fphi.experiment.few_shot import train_few_shot
from fphi.experiment.prepare import Named, prepare
from fphi.experiment.publishing import publish
from fphi.experiment.running import LoggerOptions
from fphi.experiment.search.result import summary
from fphi.experiment.search.run import run_search
from fphi.experiment.setup import FewShotRun
from fphi.experiment.weighting.result import LOG
from fphi.experiment.weighting.run import run_weighting
from fphi.methods.base import FewShotMethod, Method
from fphi.methods.families.weighting import WeightingMethod
from fphi.methods.table import method as enter
from fphi.methods.table import methods
from fphi.ranges import checked
from fphi.report.weighting import weighting_summary
from fphi.run.meta.loggers import require_loggers
from fphi.run.meta.logs import MetricsLogger
from fphi.run.meta.training import TrainingResult
from fphi.tasks import GIVEN, TaskDistribution
from fphi.within.randomness import undisturbed

__all__ = ["configured", "folder_for", "named_method", "train", "train_as_configured"]

_NAMES = ("space", "few_shot", "network", "tasks", "executor", "ray_address")


@checked()
def train(
    method: str | Method | type[Method],
    *,
    out: Path | str | None = None,
    tasks: str | Path | TaskDistribution | None = None,
    resume: bool = False,
    progress: bool = False,
    loggers: Sequence[MetricsLogger] = (),
    **options: Any,
) -> TrainingResult | dict[str, Any] | None:
    """Train a method, or search by it, as ``fphi train METHOD`` does.

    Args:
        method: its name, ``FILE.py:NAME``, or a method with options, as ``MAML(inner_lr=0.1)``.
        out: the run's folder, which ``fphi evaluate``, ``fphi.load`` and so on take; ``runs/METHOD`` if None.
        tasks: the name or path of the data, or a distribution over tasks of your own. The run does not keep
            that: give it again to `resume`, to `fphi.evaluate` and to `fphi.compare`.
        resume: go on with the run in ``out``.
        progress: whether to show a progress line on stderr.
        loggers: told of each row of a few-shot training's log: those of Lightning Fabric (W&B, MLflow, …).
        options: of the command line, with underscores; groups as dictionaries, ``child={"epochs": 5}``.

    Returns:
        How a few-shot training ended, None for a method that learns nothing across tasks; of a search, and of
        a training with learned weights of examples, the content of its ``result.json``.

    Raises:
        FphiError: an option does not exist or does not fit, the folder is taken, or the training fails.
    """
    name, own = named_method(method)
    folder = folder_for(name, out)
    given = tasks if isinstance(tasks, TaskDistribution) else None
    if tasks is not None:
        own = {**own, "tasks": tasks if given is None else GIVEN}
    config = configured(name, {**own, **options}, folder, folder if resume else None, given)
    return train_as_configured(config, folder, resume=resume, given=given, progress=progress, loggers=loggers)


def folder_for(name: str, out: Path | str | None) -> Path:
    """That of a run: as it is given, or the usual one of the method."""
    if out is not None and not str(out).strip():
        raise FphiError("out is empty; give the run's folder a name, or leave it out")
    return Path(out) if out is not None else Path("runs") / name.rpartition(":")[2]


def configured(
    name: str,
    values: Mapping[str, Any],
    folder: Path,
    begun: Path | None = None,
    given: TaskDistribution | None = None,
) -> Config:
    """The configuration of a run from the names of options and their values.

    Args:
        name: of the method.
        values: of the options that are not as usual.
        folder: of the run.
        begun: of the run that it goes on with; None: it is new.
        given: tasks in place of those that are named.

    Raises:
        FphiError: an option does not exist or does not fit.
    """
    names = {key: str(values[key]) for key in _NAMES if values.get(key)}
    prepared = prepare(Named("train", {"method": name, **names}, [], begun or folder, begun is not None))
    if given is not None and issubclass(prepared.schema.method, WeightingMethod):
        raise FphiError(f"{name} trains on one large task: leave tasks out, and name it by data=…")
    if given is not None and not issubclass(prepared.schema.method, FewShotMethod):
        raise FphiError(
            f"{name} is a search, which takes data by name only: leave tasks out, or give tasks='hershey' "
            "with few_shot=…"
        )
    return prepared.config(prepared.parser.check({**prepared.schema.names, **values}))


@undisturbed()
def train_as_configured(
    config: Config,
    out: Path,
    *,
    resume: bool = False,
    command: str | None = None,
    given: TaskDistribution | None = None,
    progress: bool = True,
    loggers: Sequence[MetricsLogger] = (),
) -> TrainingResult | dict[str, Any] | None:
    """Train or search as configured into ``out``; see `train`.

    Args:
        config: of either kind of run.
        out: the folder.
        resume: go on with the run there.
        command: that was typed, for the records; None: one that does the same.
        given: tasks in place of those that the configuration names.
        progress: whether to show a progress line.
        loggers: see `train`.
    """
    if isinstance(config.method, FewShotMethod):
        run = FewShotRun(config, given, read_division(out) if resume else None)
        return train_few_shot(run, out, resume=resume, command=command, progress=progress, loggers=loggers)
    require_loggers(config.part(LoggerOptions).logger)  # before the work, whose end they are told of
    command = command or command_again(out)
    if isinstance(config.method, WeightingMethod):
        result = run_weighting(config, out, resume=resume, command=command, progress=progress)
        rows, table = LOG, weighting_summary(result)
    else:
        result = run_search(config, out, resume=resume, command=command)
        rows, table = "history.csv", summary(result)
    publish(config, out, rows, table)
    return result


def named_method(method: str | Method | type[Method]) -> tuple[str, Mapping[str, Any]]:
    """The name of a method, entered in the table if it is new, and the options that it comes with."""
    if isinstance(method, str):
        return method, {}
    cls, own = (method, {}) if isinstance(method, type) else (type(method), asdict(method))
    title = vars(cls).get("title", cls.__name__)
    if methods().get(title) is not cls:
        enter(title, paper=getattr(cls, "paper", ""), arxiv=getattr(cls, "arxiv", ""))(cls)
    return title, own
