"""Random search: the control of every architecture search.

1. Learnable: the architecture.
2. Loss: the error on validation data after training.
3. Optimize: not at all; the best of what was drawn is the answer.
"""

from dataclasses import dataclass
from typing import ClassVar

from fphi.learnable.space import Space
from fphi.methods.families.searching import SearchMethod
from fphi.methods.table import method
from fphi.optimize import RandomSearch

__all__ = ["RandomSearchMethod"]


@method(
    "random-search",
    paper="Li, Talwalkar: Random Search and Reproducibility for NAS, UAI 2019",
    arxiv="1902.07638",
)
@dataclass(frozen=True)
class RandomSearchMethod(SearchMethod):
    """Every architecture as likely as any other answer by answer."""

    usual_space: ClassVar[str] = "cells"
    usual_evaluations: ClassVar[int] = 40

    def optimizer(self, space: Space, seed: int) -> RandomSearch:
        return RandomSearch(space, seed)
