"""The table of architecture searches: each names its space, and how it is searched."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from fphi.errors import FphiError
from fphi.learnable.architecture import SearchSpace
from fphi.optimize.ask_tell import SearchOptimizer

__all__ = ["SEARCHES", "SearchMethod", "get_search", "search_method"]

SEARCHES: dict[str, type["SearchMethod"]] = {}
S = TypeVar("S", bound="type[SearchMethod]")


@dataclass(frozen=True)
class SearchMethod(ABC):
    """One search: φ is an architecture, or the parameters of a policy that emits architectures.

    Its loss over tasks is the error on validation data of a network trained with the architecture.
    """

    title: ClassVar[str]
    paper: ClassVar[str]
    arxiv: ClassVar[str]
    # The space of the paper by its name in ``SPACES``; any other can be searched too.
    usual_space: ClassVar[str]

    @abstractmethod
    def optimizer(self, space: SearchSpace, seed: int) -> SearchOptimizer:
        """Step 3: what proposes architectures of ``space`` and learns from their losses."""


def search_method(name: str, *, paper: str, arxiv: str = "") -> Callable[[S], S]:
    """Enter a search in the table under ``name``."""

    def enter(cls: S) -> S:
        cls.title, cls.paper, cls.arxiv = name, paper, arxiv
        SEARCHES[name] = cls
        return cls

    return enter


def get_search(name: str) -> type[SearchMethod]:
    """The search's dataclass; an unknown name is answered with the known ones."""
    if name not in SEARCHES:
        raise FphiError(f"unknown search {name!r}: choose one of {', '.join(sorted(SEARCHES))}")
    return SEARCHES[name]
