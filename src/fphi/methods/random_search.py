"""Random search: the control of every architecture search.

1. Learnable: the architecture.
2. Loss: the error on validation data after training.
3. Optimize: not at all; the best of what was drawn is the answer.
"""

from dataclasses import dataclass
from typing import ClassVar

from fphi.learnable.architecture import SearchSpace
from fphi.methods.searching import SearchMethod, search_method
from fphi.optimize import RandomSearch as Drawing

__all__ = ["RandomSearch"]


@search_method(
    "random-search",
    paper="Li, Talwalkar: Random Search and Reproducibility for NAS, UAI 2019",
    arxiv="1902.07638",
)
@dataclass(frozen=True)
class RandomSearch(SearchMethod):
    """Every architecture as likely as any other answer by answer."""

    usual_space: ClassVar[str] = "cells"
    usual_evaluations: ClassVar[int] = 60

    def optimizer(self, space: SearchSpace, seed: int) -> Drawing:
        return Drawing(space, seed)
