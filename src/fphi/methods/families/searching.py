"""What searches have in common: each names its space, and how it is searched."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from fphi.errors import FphiError
from fphi.learnable.architecture import ArchitectureSpace
from fphi.learnable.space import Candidate, Space, Tokens
from fphi.methods.base import Method
from fphi.optimize.ask_tell import Growth, SearchOptimizer
from fphi.ranges import count
from fphi.run.search.supernet import SupernetSearch
from fphi.tasks.supervised import Supervised
from fphi.within.training import NetworkTraining

__all__ = ["EpochwiseMethod", "RelaxedMethod", "SearchMethod", "SupernetMethod"]


@dataclass(frozen=True)
class _Search(Method):
    """One search: φ is what is chosen, the parameters of a policy that chooses, or a mixture of choices."""

    # The space of the paper by its name.
    usual_space: ClassVar[str]
    # Which spaces it can search.
    searches: ClassVar[type] = Space
    # The paper's own search in words, with the options that give it; empty: there is none.
    paper_budget: ClassVar[str] = ""

    def require(self, space: Space) -> None:
        """Raise an `FphiError` if the method cannot search ``space``."""
        if not isinstance(space, self.searches):
            raise FphiError(
                f"{self.title} cannot search the space {space.name}; choose the space {self.usual_space}"
            )


@dataclass(frozen=True)
class SearchMethod(_Search):
    """A search that evaluates candidates one by one; it takes any space.

    Its loss is the error on validation data of a network trained with the candidate.
    """

    # Whether a candidate begins with its parent's weights where they fit.
    inherits: ClassVar[bool] = False
    # Evaluations where candidates are trained and no budget is given: a minute or two on the digits.
    usual_evaluations: ClassVar[int] = 16
    # Epochs of a whole training with an augmentation, where nobody says.
    usual_augmented_epochs: ClassVar[int] = 8
    # The option that says how many candidates come before what was learned of others; empty: there is none.
    drawn_by: ClassVar[str] = ""

    @abstractmethod
    def optimizer(self, space: Space, seed: int) -> SearchOptimizer:
        """Step 3: what proposes candidates of ``space`` and learns from their losses."""

    def growth(self, space: Space) -> Growth | None:
        """The space of a candidate by its number; None: it is always ``space``."""
        return None

    def stretch(self, epochs: int) -> int:
        """Epochs of one candidate, where a whole training has ``epochs``; by default all."""
        return epochs

    def evaluations(self, epochs: int) -> int:
        """How many candidates are evaluated where no budget is given."""
        return self.usual_evaluations

    def require_budget(self, evaluations: int | None, epochs: int) -> None:
        """Raise an `FphiError` if nothing can come of so many evaluations, of trainings of ``epochs``."""

    def doubt(self, evaluations: int | None) -> str:
        """What a user should know of so few evaluations, in a line; "" if they teach the search anything.

        Args:
            evaluations: that there will be; None: nobody knows.
        """
        drawn = getattr(self, self.drawn_by) if self.drawn_by else 0
        if evaluations is None or evaluations > drawn:
            return ""
        return (
            f"nothing is learned in this search: the first {drawn} candidates (--{self.drawn_by}) are drawn "
            f"at random, and there are {evaluations}; give more --evaluations, or a smaller --{self.drawn_by}"
        )

    def most(self, epochs: int) -> int | None:
        """How many candidates there are at most; None: any number."""
        return None

    def chosen(self, told: Sequence[tuple[Candidate, float]]) -> tuple[Tokens, ...]:
        """Which candidates make up the result, by default the best.

        Args:
            told: all with their losses, infinite where they failed; one did not.
        """
        return (min(told, key=lambda entry: (entry[1], entry[0].number))[0].tokens,)


@dataclass(frozen=True)
class EpochwiseMethod(_Search):
    """A search that is one training, epoch by epoch.

    Args:
        control_evaluations: candidates that random search, its control, trains one by one; the best of them
            is what the search must beat.
    """

    control_evaluations: int = count(16, least=0)

    def conclude(
        self, search: SupernetSearch, space: Space, data: Supervised, training: NetworkTraining
    ) -> Mapping[str, float]:
        """Figures for the row of the last epoch, taken when the search has ended.

        Args:
            search: at its end.
            space: that was searched.
            data: of the problem.
            training: of a network by itself.
        """
        return {}


@dataclass(frozen=True)
class SupernetMethod(EpochwiseMethod):
    """A search in one network that holds all architectures of its space, whose weights they share."""

    @abstractmethod
    def begin(self, space: ArchitectureSpace, data: Supervised, seed: int) -> SupernetSearch:
        """The search at its start.

        Raises:
            FphiError, ValueError: the method cannot search ``space``, or an option is out of its range.
        """


@dataclass(frozen=True)
class RelaxedMethod(EpochwiseMethod):
    """A search for an augmentation whose choices are relaxed, so that they have gradients."""

    @abstractmethod
    def begin(self, space: Space, data: Supervised, network: nn.Module, seed: int) -> SupernetSearch:
        """The search at its start.

        Args:
            space: of the result.
            data: of the problem.
            network: that is trained meanwhile, new.
            seed: of everything random.

        Raises:
            FphiError, ValueError: the method cannot search ``space``, or an option is out of its range.
        """
