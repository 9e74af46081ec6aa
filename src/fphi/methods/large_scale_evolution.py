"""Large-scale evolution: networks grow from nothing, the better of two has a child with its weights.

1. Learnable: the architecture, a free graph, and its learning rate.
2. Loss: the error on validation data after a short training that begins with the parent's weights.
3. Optimize: by evolution; the worse of two dies.
"""

from dataclasses import dataclass
from typing import ClassVar

from fphi.learnable.space import Space
from fphi.methods.families.searching import SearchMethod
from fphi.methods.table import method
from fphi.optimize import PairwiseTournament
from fphi.ranges import count

__all__ = ["LargeScaleEvolution"]


@method(
    "large-scale-evolution",
    paper="Real et al.: Large-Scale Evolution of Image Classifiers, ICML 2017",
    arxiv="1703.01041",
)
@dataclass(frozen=True)
class LargeScaleEvolution(SearchMethod):
    """Everything starts with a linear classifier; what is inherited makes long trainings of short ones.

    Args:
        population: individuals alive at a time, the first of them linear networks: --evaluations must be many
            more. The paper's 1,000 were trained by 250 workers, small searches need fewer.
    """

    usual_space: ClassVar[str] = "graphs"
    usual_evaluations: ClassVar[int] = 100
    paper_budget: ClassVar[str] = (
        "1,000 alive, trained by 250 workers for days: --population 1000 and many times as many --evaluations"
    )
    inherits: ClassVar[bool] = True
    drawn_by: ClassVar[str] = "population"

    population: int = count(10, least=2)

    def optimizer(self, space: Space, seed: int) -> PairwiseTournament:
        return PairwiseTournament(space, seed, size=self.population)
