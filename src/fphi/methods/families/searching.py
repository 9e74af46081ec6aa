"""What searches have in common: each names its space, and how it is searched."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from fphi.learnable.architecture import ArchitectureSpace
from fphi.learnable.space import Space
from fphi.methods.base import Method
from fphi.optimize.ask_tell import Growth, SearchOptimizer
from fphi.ranges import count
from fphi.run.search.supernet import SupernetSearch
from fphi.tasks.supervised import Supervised

__all__ = ["SearchMethod", "SupernetMethod"]


@dataclass(frozen=True)
class _Search(Method):
    """One search: φ is an architecture, the parameters of a policy that emits architectures, or a mixture."""

    # The space of the paper by its name in ``SPACES``.
    usual_space: ClassVar[str]
    # The paper's own search in words, with the options that give it; empty: there is none.
    paper_budget: ClassVar[str] = ""


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
    def optimizer(self, space: Space, seed: int) -> SearchOptimizer:
        """Step 3: what proposes architectures of ``space`` and learns from their losses."""

    def growth(self, space: Space) -> Growth | None:
        """The space of a candidate by its number; None: it is always ``space``."""
        return None


@dataclass(frozen=True)
class SupernetMethod(_Search):
    """A search in one network that holds all architectures of its space, whose weights they share.

    Args:
        control_evaluations: candidates that random search, its control, trains one by one; the best of them
            is what the search must beat.
    """

    control_evaluations: int = count(16, least=0)

    def require(self, space: ArchitectureSpace) -> None:
        """Raise an `FphiError` if the method cannot search ``space``; by default it can search any."""

    @abstractmethod
    def begin(self, space: ArchitectureSpace, data: Supervised, seed: int) -> SupernetSearch:
        """The search at its start.

        Raises:
            FphiError, ValueError: the method cannot search ``space``, or an option is out of its range.
        """

    def conclude(
        self, search: SupernetSearch, space: ArchitectureSpace, data: Supervised
    ) -> Mapping[str, float]:
        """Figures for the row of the last epoch, taken when the search has ended."""
        return {}
