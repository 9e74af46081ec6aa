"""Population Based Augmentation: networks train side by side, the worst copy the best and explore.

1. Learnable: a schedule: which policy augments in which epochs.
2. Loss: the error on validation data at the end of each round of some epochs.
3. Optimize: by evolution of a population that trains meanwhile; the best member's lineage is the schedule.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from fphi.errors import FphiError
from fphi.learnable.augmentation import PBASpace
from fphi.learnable.space import Candidate, Space, Tokens
from fphi.methods.families.searching import SearchMethod
from fphi.methods.table import method
from fphi.optimize.population import PopulationBased, lineage
from fphi.ranges import count, number, share

__all__ = ["PBA"]


@method(
    "pba",
    paper="Ho, Liang, Stoica, Abbeel, Chen: Population Based Augmentation, ICML 2019",
    arxiv="1905.05393",
)
@dataclass(frozen=True)
class PBA(SearchMethod):
    """One training of a population costs about as much as its members' trainings one by one.

    The epochs of a whole training are those of the children, ``--child-epochs``.

    Args:
        population: members that train side by side (paper: 16).
        interval: epochs of a round, after which the worst go on with copies of the best (paper: 3).
        quarter: share of the population that are the best, and the worst.
        redraw: probability that a number of a copied policy is drawn anew.
        reach: how far any other one moves, at most.
    """

    usual_space: ClassVar[str] = "pba"
    searches: ClassVar[type] = PBASpace
    inherits: ClassVar[bool] = True
    usual_augmented_epochs: ClassVar[int] = 24  # eight rounds
    paper_budget: ClassVar[str] = (
        "16 members, 200 epochs on 4,000 images: --data cifar10 --train-examples 4000 --child-epochs 200"
    )

    population: int = count(16, 10_000, least=2)
    interval: int = count(3, 100_000)
    quarter: float = number(0.25, 0, 0.5, open=True)
    redraw: float = share(0.2)
    reach: int = count(3, 10, least=0)

    def optimizer(self, space: Space, seed: int) -> PopulationBased:
        self.require(space)
        assert isinstance(space, PBASpace)
        return PopulationBased(
            space, seed, size=self.population, share=self.quarter, redraw=self.redraw, reach=self.reach
        )

    def stretch(self, epochs: int) -> int:
        return min(self.interval, epochs)

    def evaluations(self, epochs: int) -> int:
        return self.population * (-(-epochs // self.interval))

    def most(self, epochs: int) -> int:
        return self.evaluations(epochs)

    def require_budget(self, evaluations: int | None, epochs: int) -> None:
        rounds, most = -(-epochs // self.interval), self.evaluations(epochs)
        if rounds < 2:
            raise FphiError(
                f"--child-epochs {epochs} with --interval {self.interval} are one round, after which nothing "
                "is explored; give at least two"
            )
        if evaluations is None:
            return
        whole, rest = divmod(evaluations, self.population)
        if rest or not 2 <= whole <= rounds:
            raise FphiError(
                f"--evaluations is {evaluations}; what is found is of whole rounds of "
                f"{self.population} members, the first of which explores nothing: give a multiple of "
                f"{self.population} from {2 * self.population} to {most}, or leave it out"
            )

    def chosen(self, told: Sequence[tuple[Candidate, float]]) -> tuple[Tokens, ...]:
        """The policies of the best member's lineage, a round each."""
        return tuple(candidate.tokens for candidate in lineage(told, self.population))
