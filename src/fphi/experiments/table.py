"""The one table of experiments: it finds the files of this package by itself."""

import pkgutil
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TypeVar

from fphi.errors import FphiError
from fphi.experiments.base import Experiment

__all__ = ["experiment", "experiments", "get_experiment"]

E = TypeVar("E", bound=type[Experiment])

_TABLE: dict[str, type[Experiment]] = {}


def experiment(name: str, about: str) -> Callable[[E], E]:
    """Enter an experiment in the table under ``name``.

    Args:
        name: as the command line has it.
        about: what it shows, in a line.
    """

    def enter(cls: E) -> E:
        cls.title, cls.about = name, about
        _TABLE[name] = cls
        return cls

    return enter


def experiments() -> Mapping[str, type[Experiment]]:
    """All experiments by name."""
    _discover()
    return dict(sorted(_TABLE.items()))


def get_experiment(name: str) -> type[Experiment]:
    """The experiment's dataclass.

    Raises:
        FphiError: there is none of that name; it says which there are.
    """
    _discover()
    if name not in _TABLE:
        raise FphiError(f"unknown experiment {name!r}: choose one of {', '.join(sorted(_TABLE))}")
    return _TABLE[name]


@cache
def _discover() -> None:
    """Import what enters experiments, once."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if not module.ispkg:
            import_module(f"{__package__}.{module.name}")
