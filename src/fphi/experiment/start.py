"""``--start-from RUN``: a training may begin with another's parameters, if they have not seen its tests."""

import re
from collections.abc import Iterator
from pathlib import Path

from fphi.errors import FphiError
from fphi.experiment.classes import read_division
from fphi.experiment.config import CONFIG, Config
from fphi.experiment.connections import require_data
from fphi.experiment.setup import FewShotRun
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
    for start, begun in _starts(run):
        if begun.options.tasks == GIVEN:
            say(f"which classes {start} learned from is not known: its tasks were {GIVEN}")
            continue
        same = _place(begun.options) == _place(run.options)
        common = judged & _classes(begun.tasks(begun.training.seed), "train")
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


def _starts(run: FewShotRun) -> Iterator[tuple[Path, FewShotRun]]:
    """The run to start from, the one that it started from, and so on."""
    seen: set[Path] = set()  # folders made anew may lead in a circle
    while (name := run.training.start_from) is not None and (start := Path(name).resolve()) not in seen:
        seen.add(start)
        run = FewShotRun(Config.read(Path(name)), division=read_division(Path(name)))
        require_data(Path(name) / CONFIG, run.options.tasks, run.options.data_root)
        yield Path(name), run


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
