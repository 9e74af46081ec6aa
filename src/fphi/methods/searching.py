"""The table of architecture searches: each names its space, and how it is searched."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeVar

from fphi.errors import FphiError
from fphi.learnable.architecture import SearchSpace, Tokens
from fphi.optimize.ask_tell import Growth, SearchOptimizer
from fphi.tasks.supervised import Supervised

__all__ = ["SEARCHES", "Derived", "SearchMethod", "SupernetMethod", "Tell", "get_search", "search_method"]

SEARCHES: dict[str, "type[SearchMethod] | type[SupernetMethod]"] = {}
S = TypeVar("S", bound="type[SearchMethod] | type[SupernetMethod]")


@dataclass(frozen=True)
class Derived:
    """What a supernet gave: an architecture, and the rows of its epochs."""

    tokens: Tokens
    rows: list[dict[str, float]]


# Of the row of an epoch and the number of epochs.
Tell = Callable[[dict[str, float], int], None]


@dataclass(frozen=True)
class _Search(ABC):
    """One search: φ is an architecture, the parameters of a policy that emits architectures, or a mixture."""

    title: ClassVar[str]
    paper: ClassVar[str]
    arxiv: ClassVar[str]
    # The space of the paper by its name in ``SPACES``.
    usual_space: ClassVar[str]


@dataclass(frozen=True)
class SearchMethod(_Search):
    """A search that evaluates candidates one by one; it takes any space.

    Its loss is the error on validation data of a network trained with the candidate.
    """

    # Whether a candidate begins with its parent's weights where they fit.
    inherits: ClassVar[bool] = False
    # Evaluations where candidates are trained and no budget is given: a minute or two on the digits.
    usual_evaluations: ClassVar[int] = 16

    @abstractmethod
    def optimizer(self, space: SearchSpace, seed: int) -> SearchOptimizer:
        """Step 3: what proposes architectures of ``space`` and learns from their losses."""

    def growth(self, space: SearchSpace) -> Growth | None:
        """The space of a candidate by its number; None: it is always ``space``."""
        return None


@dataclass(frozen=True)
class SupernetMethod(_Search):
    """A search in one network that holds all architectures of its space, whose weights they share."""

    def require(self, space: SearchSpace) -> None:
        """Raise an `FphiError` if the method cannot search ``space``; by default it can search any."""

    @abstractmethod
    def begin(self, space: SearchSpace, data: Supervised, seed: int) -> object:
        """The search at its start.

        Raises:
            FphiError, ValueError: the method cannot search ``space``, or an option is out of its range.
        """

    @abstractmethod
    def search(
        self, space: SearchSpace, data: Supervised, seed: int, out: Path | None, resume: bool, tell: Tell
    ) -> Derived:
        """Train the supernet and derive an architecture.

        Args:
            space: a space that the method knows.
            data: trained on ``data.train``, architectures judged on ``data.validation``.
            seed: of everything random.
            out: folder for checkpoints, after each epoch; None: none are kept.
            resume: go on from the checkpoint in ``out``.
            tell: called with each epoch's row, numbers by name, and the epochs in all.
        """


def search_method(name: str, *, paper: str, arxiv: str = "") -> Callable[[S], S]:
    """Enter a search in the table under ``name``."""

    def enter(cls: S) -> S:
        cls.title, cls.paper, cls.arxiv = name, paper, arxiv
        SEARCHES[name] = cls
        return cls

    return enter


def get_search(name: str) -> type[SearchMethod] | type[SupernetMethod]:
    """The search's dataclass; an unknown name is answered with the known ones."""
    if name not in SEARCHES:
        raise FphiError(f"unknown search {name!r}: choose one of {', '.join(sorted(SEARCHES))}")
    return SEARCHES[name]
