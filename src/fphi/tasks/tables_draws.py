"""Random numbers of tables, by the name of what they decide."""

from dataclasses import dataclass, replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from fphi.tasks.hashing import normal, stream_key, uniform

__all__ = ["Draws", "Numbers", "Whole"]

Numbers = NDArray[np.float32]
Whole = NDArray[np.int64]


@dataclass(frozen=True)
class Draws:
    """Random numbers of tables, by the name of what they decide.

    Args:
        seed: of all.
        split: that the tables are of.
        indices: the tables' numbers ``[B]``.
    """

    seed: int
    split: str
    indices: Whole

    def uniform(self, name: str, *shape: int) -> Numbers:
        """``[B, *shape]`` in 0..1."""
        u = uniform(self._key(name), self.indices, prod(shape))
        return np.minimum(u.astype(np.float32), np.float32(1 - 2**-24)).reshape(-1, *shape)

    def normal(self, name: str, *shape: int) -> Numbers:
        """``[B, *shape]``, mean 0 and variance 1."""
        return normal(self._key(name), self.indices, prod(shape)).reshape(-1, *shape)

    def between(self, name: str, low: float, high: float, *shape: int) -> Numbers:
        """``[B, *shape]`` from ``low`` to ``high``, uniform in the logarithm."""
        place = self.uniform(name, *shape)
        drawn: Numbers = np.exp(np.log(low) + (np.log(high) - np.log(low)) * place)
        return drawn

    def whole(self, name: str, low: int, high: int) -> Whole:
        """``[B]`` of ``low`` to ``high`` inclusive, small ones more often (uniform in the logarithm)."""
        return np.minimum(self.between(name, low, high + 1).astype(np.int64), high)

    def at(self, rows: NDArray[np.bool_]) -> "Draws":
        """Those of some of the tables."""
        return replace(self, indices=self.indices[rows])

    def _key(self, name: str) -> np.uint64:
        return stream_key(self.seed, self.split, "tables", name)
