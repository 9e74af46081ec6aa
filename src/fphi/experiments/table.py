"""The one table of experiments: it finds the files of this package by itself."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from fphi.experiments.base import Experiment
from fphi.table import Table

__all__ = ["experiment", "experiments", "get_experiment"]

E = TypeVar("E", bound=type[Experiment])

_TABLE: Table[type[Experiment]] = Table("experiment", __package__ or "", __file__)


def experiment(name: str, about: str) -> Callable[[E], E]:
    """Enter an experiment in the table under ``name``.

    Args:
        name: as the command line has it.
        about: what it shows, in a line.
    """

    def enter(cls: E) -> E:
        cls.title, cls.about = name, about
        _TABLE.entries[name] = cls
        return cls

    return enter


def experiments() -> Mapping[str, type[Experiment]]:
    """All experiments by name."""
    return _TABLE.all()


def get_experiment(name: str) -> type[Experiment]:
    """The experiment's dataclass.

    Raises:
        FphiError: there is none of that name; it says which there are.
    """
    return _TABLE.get(name)
