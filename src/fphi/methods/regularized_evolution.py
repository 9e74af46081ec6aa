"""Regularized evolution (AmoebaNet): individuals die of age, not of their losses.

1. Learnable: the architecture, a normal and a reduction cell.
2. Loss: the error on validation data after a short training.
3. Optimize: by evolution; the best of the whole history is the answer.
"""

from dataclasses import dataclass
from typing import ClassVar

from fphi.learnable.space import Space
from fphi.methods.families.searching import SearchMethod
from fphi.methods.table import method
from fphi.optimize import AgingEvolution
from fphi.ranges import count

__all__ = ["RegularizedEvolution"]


@method(
    "regularized-evolution",
    paper="Real, Aggarwal, Huang, Le: Regularized Evolution for Image Classifier Search, AAAI 2019",
    arxiv="1802.01548",
)
@dataclass(frozen=True)
class RegularizedEvolution(SearchMethod):
    """Whoever was good by luck is forgotten; what stays good when trained anew lives on in its children.

    Args:
        population: individuals alive at a time (paper: 100, of 20,000 models; small searches need fewer).
        sample: individuals drawn with replacement, the best of which is the parent (paper: 25).
    """

    usual_space: ClassVar[str] = "amoebanet"
    usual_evaluations: ClassVar[int] = 20
    drawn_by: ClassVar[str] = "population"
    paper_budget: ClassVar[str] = "20,000 models: --evaluations 20000 --population 100 --sample 25"

    population: int = count(10)
    sample: int = count(3)

    def optimizer(self, space: Space, seed: int) -> AgingEvolution:
        return AgingEvolution(space, seed, size=self.population, sample=self.sample)
