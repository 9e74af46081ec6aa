"""The one table of methods: it finds the files of this package by itself, and those of installed packages."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from fphi.methods.base import Method
from fphi.table import Table

__all__ = ["get_method", "method", "methods"]

M = TypeVar("M", bound=type[Method])

_TABLE: Table[type[Method]] = Table("method", __package__ or "", __file__, group="fphi.methods")


def method(name: str, *, paper: str, arxiv: str = "") -> Callable[[M], M]:
    """Enter a method in the table under ``name``.

    Args:
        name: as the command line has it.
        paper: authors, title, where and when.
        arxiv: its number, if it has one.
    """

    def enter(cls: M) -> M:
        cls.title, cls.paper, cls.arxiv = name, paper, arxiv
        _TABLE.entries[name] = cls
        return cls

    return enter


def methods() -> Mapping[str, type[Method]]:
    """All methods by name: those of fphi, of installed packages (entry points of the group ``fphi.methods``),
    and those of files that were loaded.
    """
    return _TABLE.all()


def get_method(name: str) -> type[Method]:
    """The method's dataclass.

    Raises:
        FphiError: there is none of that name; it says which there are.
    """
    return _TABLE.get(name)
