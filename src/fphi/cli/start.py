"""``--start-from RUN``: a training may begin with another's parameters, if they have not seen its tests."""

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from fphi.cli.options import TaskOptions
from fphi.cli.runs import RunConfig
from fphi.errors import FphiError
from fphi.tasks import NAMED, FewShotTasks, TaskDistribution

__all__ = ["located_start", "require_fair_start"]


def located_start(config: RunConfig) -> RunConfig:
    """With the path of the run to start from in full, so that it is found from any folder."""
    start = config.training.start_from
    if start is None:
        return config
    return replace(config, training=replace(config.training, start_from=str(Path(start).absolute())))


def require_fair_start(config: RunConfig, tasks: TaskDistribution) -> None:
    """Refuse a start that learned from classes which ``config`` is validated or tested on.

    Of other data only the names of classes can be compared: where they agree, stderr says so.

    Args:
        config: of the training, with the run to start from.
        tasks: its tasks.

    Raises:
        FphiError: the start is no run, it or what it started from learned from such classes, or that is
            not known.
    """
    judged = _classes(tasks, *(split for split in tasks.splits if split != "train"))
    for start, begun in _starts(config):
        same = _place(begun.tasks) == _place(config.tasks)
        common = judged & _classes(begun.load_tasks(begun.training.seed), "train")
        if common and same:
            raise FphiError(
                f"{start} learned from {len(common)} of the {len(judged)} classes that this training is "
                f"validated or tested on, such as {'/'.join(min(common))}; train it with the same "
                "--protocol and --train-on-validation as this one"
            )
        if common:
            print(
                f"{len(common)} of the classes that this training is validated or tested on have names of "
                f"classes that {start} learned from: if they are the same, no test is one of new classes",
                file=sys.stderr,
            )


def _starts(config: RunConfig) -> Iterator[tuple[Path, RunConfig]]:
    """The run to start from, the one that it started from, and so on."""
    seen: set[str | None] = {None}  # folders made anew may lead in a circle
    while (name := config.training.start_from) not in seen:
        seen.add(name)
        start = Path(str(name))
        config = RunConfig.read(start)
        yield start, config


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
