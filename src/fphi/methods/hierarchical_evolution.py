"""Hierarchical evolution: motifs of motifs, changed one edge at a time, in a population that only grows.

1. Learnable: the architecture, motifs on several levels.
2. Loss: the error on validation data after a short training.
3. Optimize: by evolution; nobody dies.
"""

from dataclasses import dataclass
from typing import ClassVar

from fphi.learnable.space import Space
from fphi.methods.families.searching import SearchMethod
from fphi.methods.table import method
from fphi.optimize import TournamentWithoutRemoval
from fphi.ranges import count, number

__all__ = ["HierarchicalEvolution"]


@method(
    "hierarchical-evolution",
    paper="Liu, Simonyan, Vinyals, Fernando, Kavukcuoglu: Hierarchical Representations, ICLR 2018",
    arxiv="1711.00436",
)
@dataclass(frozen=True)
class HierarchicalEvolution(SearchMethod):
    """The best of a twentieth of all that ever lived has a child: a weak selection, which keeps variety.

    Args:
        population: individuals before the first child; the paper's 200 had 7,000 children, small searches
            need fewer.
        share: of the population that is drawn, the best of which is the parent (paper: 0.05); two at least.
    """

    usual_space: ClassVar[str] = "hierarchical"
    usual_evaluations: ClassVar[int] = 12
    drawn_by: ClassVar[str] = "population"
    paper_budget: ClassVar[str] = "7,000 architectures: --evaluations 7000 --population 200"

    population: int = count(6)
    share: float = number(0.05, 0, 1, open=True)

    def optimizer(self, space: Space, seed: int) -> TournamentWithoutRemoval:
        return TournamentWithoutRemoval(space, seed, size=self.population, share=self.share)
