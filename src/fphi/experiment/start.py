"""``--start-from RUN``: a training may begin with another's parameters, if they have not seen its tests."""

import re
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import NamedTuple

from fphi.errors import FphiError
from fphi.experiment.classes import read_division
from fphi.experiment.config import CONFIG, read_run
from fphi.experiment.connections import require_data
from fphi.experiment.parser import Parser, fields_of
from fphi.experiment.plugins import in_file, is_in_file
from fphi.experiment.setup import FewShotRun, tasks_named
from fphi.run.meta.training import Training
from fphi.run.show.say import say
from fphi.tasks import GIVEN, NAMED, FewShotTasks, TaskDistribution
from fphi.tasks.options import TaskOptions

__all__ = ["require_fair_start"]


def require_fair_start(run: FewShotRun, tasks: TaskDistribution) -> None:
    """Refuse a start that learned from classes which this training is validated or tested on.

    Of other data only the names of classes can be compared: where they agree, stderr says so.

    Args:
        run: of the training, with the run to start from.
        tasks: its tasks.

    Raises:
        FphiError: the start is no run, it or what it started from learned from such classes, or that is
            not known.
    """
    judged = _classes(tasks, *(split for split in tasks.splits if split != "train"))
    for start, begun in _starts(run.training.start_from):
        same = _place(begun.options) == _place(run.options)
        if begun.options.tasks == GIVEN:
            say(f"which classes {start} learned from is not known: its tasks were {GIVEN}")
            continue
        if is_in_file(begun.options.tasks) and not same:
            named = in_file(begun.options.tasks, lambda path: Path(path).name)
            say(f"which classes {start} learned from is not known: its tasks, {named}, are not named here")
            continue
        common = judged & _classes(_tasks_of(start, begun), "train")
        if common and same:
            raise FphiError(
                f"{start} learned from {len(common)} of the {len(judged)} classes that this training is "
                f"validated or tested on, such as {'/'.join(min(common))}; train it with the same "
                "--protocol and --train-on-validation as this one"
            )
        if common:
            say(
                f"{len(common)} of the classes that this training is validated or tested on have names of "
                f"classes that {start} learned from: if they are the same, no test is one of new classes"
            )


class _Begun(NamedTuple):
    """What decides the classes that a run learned from; its method and network may be in files not named."""

    options: TaskOptions
    training: Training


def _read(run: Path) -> _Begun:
    path, values = run / CONFIG, read_run(run)
    parser = Parser("train", "")
    for kind in (TaskOptions, Training):
        parser.add_dataclass(kind)
    known = {field.name for kind in (TaskOptions, Training) for field in fields(kind)}
    try:
        checked = parser.check({key: value for key, value in values.items() if key in known})
        return _Begun(fields_of(TaskOptions, checked), fields_of(Training, checked))
    except FphiError as error:
        raise FphiError(f"{path} is damaged ({error}); restore it") from error


def _starts(name: str | None) -> Iterator[tuple[Path, _Begun]]:
    """The run to start from, the one that it started from, and so on."""
    seen: set[Path] = set()  # folders made anew may lead in a circle
    while name is not None and (start := Path(name).resolve()) not in seen:
        seen.add(start)
        begun = _read(Path(name))
        yield Path(name), begun
        name = begun.training.start_from


def _tasks_of(run: Path, begun: _Begun) -> TaskDistribution:
    options = replace(begun.options, ways=2, shots=1, queries=None)  # whatever its method made of the classes
    require_data(run / CONFIG, options.tasks, options.data_root)
    return tasks_named(options, splits=["train"], division=read_division(run))


def _place(options: TaskOptions) -> str:
    return options.tasks if options.tasks in NAMED else str(Path(options.tasks).resolve())


def _classes(tasks: TaskDistribution, *splits: str) -> set[tuple[str, str]]:
    """Group and name of the classes of these splits; a rotation of a class is that class."""
    if not isinstance(tasks, FewShotTasks):
        return set()
    pools = [tasks.pool(split) for split in splits]
    return {
        (group, re.sub(r"/(mirror)?rot\d{3}$", "", name))
        for pool in pools
        for group, name in zip(pool.groups, pool.names, strict=True)
    }
