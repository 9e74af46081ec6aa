"""A trained run as what it has learned: ready to answer, in any process, without its data."""

import shlex
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fphi.errors import FphiError
from fphi.experiment.architecture import ARCHITECTURE, load_architecture
from fphi.experiment.classes import read_division
from fphi.experiment.config import CONFIG, FROM_FILES, Config, read_run, written_fingerprint
from fphi.experiment.connections import require_data
from fphi.experiment.parser import flag
from fphi.experiment.plugins import is_in_file
from fphi.experiment.setup import FewShotRun
from fphi.experiment.weighting.loading import load_weighed
from fphi.learnable import LearningAlgorithm
from fphi.learnable.explaining import plain
from fphi.methods.base import FewShotMethod, Setting
from fphi.methods.families.networks import settled
from fphi.methods.families.weighting import WeightingMethod
from fphi.methods.table import methods
from fphi.ranges import checked
from fphi.run.disk.checkpoint import BEST, LAST, load_parameters, read_note
from fphi.run.search.history import HISTORY
from fphi.within.randomness import undisturbed

__all__ = [
    "WITHOUT_TASKS",
    "as_other",
    "load",
    "load_learner",
    "noted_setting",
    "other_method",
    "own_files",
    "require_own",
    "resume_command",
    "trained_run",
]

WITHOUT_TASKS = ("method", "network")
"""What of files of Python a learner is built of, whose tasks need not be there; see `Config.read`."""

_MOST_ANSWERS = 10_000_000
_DTYPES = {plain(d): d for d in vars(torch).values() if isinstance(d, torch.dtype)}


@undisturbed()
@checked()
def load(
    run: Path | str, *, method: str | None = None, network: str | None = None, images: bool = False
) -> nn.Module:
    """What a run has learned, in evaluation mode; its data need not be there.

    Args:
        run: the folder of a few-shot training or of a search.
        method: where it is in a file of Python, that as ``FILE.py:NAME``.
        network: likewise.
        images: of one network for one large task, whether it is to take images of grey levels 0 … 255. If
            not, it takes what it was trained on: these less the mean of the training images, over their
            deviation, which the run keeps.

    Returns:
        Of a few-shot run the learner, a `LearningAlgorithm` with the best parameters. Of a search the network
        that it found, ``[n, *input_shape]`` to ``[n, classes]``; of one for few-shot learners its features.
        Of a training with learned weights of examples the network, likewise.

    Raises:
        FphiError: the folder holds no run, or one that is damaged or has not come to any result.

    >>> load("runs/nothing")
    Traceback (most recent call last):
    fphi.errors.FphiError: runs/nothing is no run directory (no config.yaml): give the --out of an fphi train
    """
    folder = Path(run)
    if (folder / ARCHITECTURE).is_file() or (folder / HISTORY).is_file():
        return load_architecture(folder, images)
    given = {"method": method, "network": network}
    allowed = {key: value for key, value in given.items() if value is not None}
    require_own(folder, allowed)
    config = Config.read(folder, allowed=allowed, needed=WITHOUT_TASKS)
    if isinstance(config.method, WeightingMethod):
        return load_weighed(folder, config, images)
    if images:
        raise FphiError(f"{folder} is a few-shot run, which takes tasks as they are: leave out images=True")
    trained = trained_run(folder, allowed, needed=WITHOUT_TASKS)
    return load_learner(folder, trained, trained.with_network(noted_setting(folder, trained))).eval()


def trained_run(
    run: Path,
    allowed: Mapping[str, str] | None = None,
    command: str = "",
    needed: Collection[str] = FROM_FILES,
) -> FewShotRun:
    """The configuration of a run that has parameters to be tested.

    Args:
        run: the folder.
        allowed: what is in files of Python, by option; see `Config.read`.
        command: how the user can name it; see `Config.read`.
        needed: what of it is run; see `Config.read`.

    Raises:
        FphiError: it is no few-shot run, has not come to its first validation, or has not what is allowed.
    """
    if (run / HISTORY).is_file():
        raise FphiError(f"{run} is the directory of a search: give the --out of an fphi train of a learner")
    require_own(run, allowed or {})
    config = Config.read(run, allowed=allowed, command=command, needed=needed)
    if isinstance(config.method, WeightingMethod):
        raise FphiError(
            f"{run} is a training with {config.name} on one task, and has no test tasks: what it reached is "
            "in its result.json, and fphi.load gives its network"
        )
    if not isinstance(config.method, FewShotMethod):
        raise FphiError(f"{run} is the directory of a search: give the --out of an fphi train of a learner")
    _require_best(run, config)
    return FewShotRun(config, division=read_division(run))


def require_own(run: Path, named: Mapping[str, str]) -> None:
    """Raise an `FphiError` if a method or network is named that is not the run's: it would not be used."""
    values = read_run(run)
    for key in WITHOUT_TASKS:
        own, given = values.get(key), named.get(key)
        if given is None or given == own or (is_in_file(own) and is_in_file(given)):
            continue
        has = f"it has {own}" if own is not None else f"{values.get('method')} has no such option"
        raise FphiError(
            f"{flag(key)} is {given!r}, and {run} was not trained with that ({has}); leave it out"
        )


def other_method(run: Path, named: Mapping[str, str] | None) -> str | None:
    """The method that a run is to be tested as, which is not its own and not in a file; None: its own."""
    given = (named or {}).get("method")
    return None if is_in_file(given) or given == read_run(run).get("method") else given


def as_other(run: Path, named: str, learner: LearningAlgorithm, setting: Setting) -> LearningAlgorithm:
    """What a run has learned, to be tested as another method.

    Raises:
        FphiError: that method cannot; it says which ones can.
    """
    few_shot = {title: cls for title, cls in methods().items() if issubclass(cls, FewShotMethod)}
    found = {title: cls.testing(learner, setting) for title, cls in few_shot.items()}
    possible = {title: tested for title, tested in found.items() if tested is not None}
    if named in possible:
        return possible[named]
    others = f", or test it as {', '.join(possible)}" if possible else ""
    own = read_run(run).get("method")
    raise FphiError(f"--method is {named!r}, and {run} was trained with {own}; leave it out{others}")


def own_files(run: Path, named: Mapping[str, str]) -> dict[str, str]:
    """Of the methods and networks that are named for several runs what this one has from files of Python."""
    values = read_run(run)
    return {key: value for key, value in named.items() if key == "tasks" or is_in_file(values.get(key))}


def load_learner(run: Path, trained: FewShotRun, setting: Setting) -> LearningAlgorithm:
    """The learner with the best parameters; those that the run froze stay frozen, in inner steps too.

    Options that were left open are what they came to where it was trained, so that it is the same algorithm
    on whatever tasks it is tested.

    Args:
        run: the folder.
        trained: its configuration, which may have other options of the tasks or the method, as a test has.
        setting: of the tasks that it is to solve.

    Raises:
        FphiError: they do not fit it, or the configuration was changed after the training.
    """
    noted = replace(setting, classes=_noted_count(run, "classes"), numbers=_noted_count(run, "numbers") or 1)
    learner = _as_in_training(run, trained, setting).learner(noted)
    note = load_parameters(run / BEST, learner)
    for name, parameter in learner.named_parameters():
        if trained.training.freeze is not None and f"{name}.".startswith(f"{trained.training.freeze}."):
            parameter.requires_grad_(False)
    if note.get("fingerprint") not in (None, "", written_fingerprint(run)):
        raise FphiError(f"{run / CONFIG} was changed after the training; restore it, or train again with it")
    return learner


def _as_in_training(run: Path, trained: FewShotRun, setting: Setting) -> FewShotRun:
    """With what open options came to in training; of runs of before, which noted no setting, those here."""
    noted = setting if read_note(run / BEST).get("setting") is None else noted_setting(run, trained)
    return replace(trained, config=trained.config.having(settled(trained.method, noted)))


def noted_setting(run: Path, trained: FewShotRun) -> Setting:
    """What the learner was built for, as its parameters tell; runs of before have only their data to tell."""
    noted: Any = read_note(run / BEST).get("setting")
    if noted is None and is_in_file(trained.options.tasks):
        raise FphiError(f"{run / BEST} does not say what its learner was built for; train again")
    if noted is None:
        require_data(run / CONFIG, trained.options.tasks, trained.options.data_root)
        return trained.setting(trained.tasks(0, ["test"]))
    try:
        dtype = _DTYPES[noted.get("dtype", "float32")]
        return Setting(noted["ways"], noted["shots"], tuple(noted["input_shape"]), dtype=dtype)
    except (KeyError, TypeError) as error:
        raise FphiError(f"{run / BEST} does not say what its learner was built for; restore it") from error


def _noted_count(run: Path, name: str) -> int | None:
    """How many ``classes`` or ``numbers`` a run was trained to answer with, see `Setting`; None: as usual."""
    noted: Any = read_note(run / BEST).get("setting")
    found = noted.get(name) if isinstance(noted, dict) else None
    if found is not None and not (type(found) is int and 0 < found <= _MOST_ANSWERS):
        raise FphiError(f"{run / BEST} does not say what its learner was built for; restore it")
    return found


def _require_best(run: Path, config: Config) -> None:
    if (run / BEST).is_file():
        return
    if (run / LAST).is_file():
        raise FphiError(
            f"{run} has no {BEST} yet: it was stopped before its first validation; go on with: "
            + resume_command(config, run)
        )
    raise FphiError(f"{run} holds no trained parameters (no {BEST}); restore it, or train again")


def resume_command(config: Config, out: Path, command: str = "train") -> str:
    """What to type to go on with a run."""
    return shlex.join(["fphi", command, config.name, "--out", str(out), "--resume"])
