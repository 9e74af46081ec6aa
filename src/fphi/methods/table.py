"""The one table of methods: it finds the files of this package by itself, and those of installed packages."""

import pkgutil
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TypeVar

from fphi.errors import FphiError
from fphi.methods.base import Method

__all__ = ["get_method", "method", "methods"]

M = TypeVar("M", bound=type[Method])

_TABLE: dict[str, type[Method]] = {}


def method(name: str, *, paper: str, arxiv: str = "") -> Callable[[M], M]:
    """Enter a method in the table under ``name``.

    Args:
        name: as the command line has it.
        paper: authors, title, where and when.
        arxiv: its number, if it has one.
    """

    def enter(cls: M) -> M:
        cls.title, cls.paper, cls.arxiv = name, paper, arxiv
        _TABLE[name] = cls
        return cls

    return enter


def methods() -> Mapping[str, type[Method]]:
    """All methods by name: those of fphi, of installed packages (entry points of the group ``fphi.methods``),
    and those of files that were loaded.
    """
    _discover()
    return dict(sorted(_TABLE.items()))


def get_method(name: str) -> type[Method]:
    """The method's dataclass.

    Raises:
        FphiError: there is none of that name; it says which there are.
    """
    _discover()
    if name not in _TABLE:
        raise FphiError(f"unknown method {name!r}: choose one of {', '.join(sorted(_TABLE))}")
    return _TABLE[name]


@cache
def _discover() -> None:
    """Import what enters methods, once."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if not module.ispkg:
            import_module(f"{__package__}.{module.name}")
    for entry in entry_points(group="fphi.methods"):
        entry.load()
