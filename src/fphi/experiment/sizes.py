"""What may be asked of tasks: not another size or seed where these are their own."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from fphi.errors import FphiError
from fphi.tasks import GIVEN, TaskDistribution
from fphi.tasks.options import TaskOptions

__all__ = ["asked_sizes", "require_own_seed", "require_own_sizes", "size_of"]


def asked_sizes(options: TaskOptions) -> dict[str, Any]:
    """The sizes that somebody asks for of tasks which say them themselves: those that are not as usual."""
    usual = {field.name: field.default for field in fields(options)}
    return {n: value for n in options.own_sizes if (value := getattr(options, n)) != usual[n]}


def size_of(tasks: TaskDistribution, split: str) -> dict[str, int | None]:
    """Ways (None: regression), shots and queries of the tasks of a split."""
    queries = len(tasks.task(split, 0).query.y) // (tasks.ways or 1)
    return {"ways": tasks.ways, "shots": tasks.shots, "queries": queries}


def require_own_sizes(
    asked: Mapping[str, Any], options: TaskOptions, tasks: TaskDistribution, split: str
) -> None:
    """Raise if tasks are to have another size than they have, where no option changes it.

    Args:
        asked: values of options, by name.
        options: that name the tasks.
        tasks: these.
        split: that they are wanted of.

    Raises:
        FphiError: with what they have.
    """
    wrong = {name: asked[name] for name in options.own_sizes if name in asked}
    own = size_of(tasks, split) if wrong else {}
    for name, value in wrong.items():
        if value != own[name]:
            has = "are regression, and have no ways" if own[name] is None else f"have {own[name]} {name}"
            raise FphiError(
                f"--{name} {value}, but {_named(options)} {has}, whatever is asked for: leave --{name} out"
                f"{_or_change(options)}"
            )


def require_own_seed(seed: int, options: TaskOptions, tasks: TaskDistribution, split: str) -> None:
    """Raise if test tasks are to be of another seed than the usual 0, and are the same with every seed.

    Raises:
        FphiError: they are given, of a file, or published.
    """
    if seed and (options.tasks == GIVEN or options.file_and_name is not None):
        raise FphiError(
            f"--seed {seed}, but {_named(options)} have no seed that an option sets: leave --seed out"
            f"{_or_change(options)}"
        )
    if seed and tasks.count(split) is not None:
        raise FphiError(f"--seed {seed}, but the tasks of split {split} are fixed: leave --seed out")


def _named(options: TaskOptions) -> str:
    return "the tasks that were given" if options.tasks == GIVEN else f"the tasks of {options.tasks}"


def _or_change(options: TaskOptions) -> str:
    if options.tasks == GIVEN:
        return ", or give others"
    return "" if options.file_and_name is None else ", or change the file"
