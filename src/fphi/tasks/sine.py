"""Sine waves: regression tasks that a plain network can learn in seconds."""

from collections.abc import Sequence
from math import cos, pi, sin

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fphi.errors import DataError
from fphi.ranges import SEED, checked
from fphi.tasks.distribution import TaskDistribution
from fphi.tasks.hashing import stream_key, task_indices, uniform
from fphi.tasks.types import Examples, Task

__all__ = ["SineTasks"]


class SineTasks(TaskDistribution):
    """Regression on y = a sin(x - b), one wave per task (Finn, Abbeel, Levine, ICML 2017, section 5.1).

    a ~ U(0.1, 5), b ~ U(0, pi), x ~ U(-5, 5). With these phases the best answer that does not look at
    the task is -1.6234 cos x (mean squared error 3.0057), not a flat line (4.2517): a network trained on
    all tasks pooled must come near 3.006.

    Args:
        shots: examples to learn from.
        queries: examples to be tested on; by default as many.
        seed: task i of a split is a function of (seed, split, i).

    >>> support, query = SineTasks(shots=10, queries=4).batch("train", range(25))
    >>> support.x.shape, query.y.shape
    (torch.Size([25, 10, 1]), torch.Size([25, 4, 1]))
    """

    AMPLITUDES = (0.1, 5.0)
    PHASES = (0.0, pi)
    INPUTS = (-5.0, 5.0)

    @checked(seed=SEED)
    def __init__(self, shots: int = 10, queries: int | None = None, seed: int = 0) -> None:
        self._shots = shots
        self.queries = shots if queries is None else queries
        self.seed = seed

    @property
    def splits(self) -> tuple[str, ...]:
        """Training, validation and test; the three draw from one distribution with different numbers."""
        return ("train", "validation", "test")

    @property
    def ways(self) -> None:
        """None: waves have no classes."""
        return None

    @property
    def shots(self) -> int:
        """Examples to learn from."""
        return self._shots

    def waves(self, split: str, indices: Sequence[int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return amplitude a and phase b of each task, [B] each."""
        self._check(split)
        u = uniform(stream_key(self.seed, split, "wave"), task_indices(indices), 2)
        return _between(self.AMPLITUDES, u[:, 0]), _between(self.PHASES, u[:, 1])

    def batch(self, split: str, indices: Sequence[int]) -> Task:
        """Return these tasks: support.x and support.y [B, K, 1] float32, query alike with Q."""
        a, b = self.waves(split, indices)
        count = self.shots + self.queries
        x = _between(self.INPUTS, uniform(stream_key(self.seed, split, "x"), task_indices(indices), count))
        y = a[:, None] * np.sin(x - b[:, None])
        support, query = (slice(None, self.shots), slice(self.shots, None))
        return Task(_examples(x[:, support], y[:, support]), _examples(x[:, query], y[:, query]))

    @classmethod
    def task_blind(cls, x: Tensor) -> Tensor:
        """The best answers ``[..., 1]`` to ``x: [..., 1]`` that do not look at the task: E[y | x].

        Over the phases, uniform from b₀ to b₁, sin(x - b) has the mean (cos(x - b₁) - cos(x - b₀))/(b₁ - b₀).

        >>> round(float(SineTasks.task_blind(torch.zeros(1))), 6)
        -1.62338
        """
        low, high = cls.PHASES
        mean: Tensor = ((x - high).cos() - (x - low).cos()) * (sum(cls.AMPLITUDES) / 2 / (high - low))
        return mean

    @classmethod
    def task_blind_error(cls) -> float:
        """Their mean squared error, E[y²] - E[E[y | x]²]: what no network trained on all tasks pooled beats.

        Both parts are integrals of squared sines over phases and inputs, in closed form.

        >>> round(SineTasks.task_blind_error(), 4)
        3.0057
        """
        (a, A), (low, high), (x, X) = cls.AMPLITUDES, cls.PHASES, cls.INPUTS
        square = (A**3 - a**3) / (3 * (A - a))
        # sin²(x - b) = (1 - cos 2(x - b))/2, whose cosine is integrated over b and over x.
        ends = [(X - high, 1), (X - low, -1), (x - high, -1), (x - low, 1)]
        wave = sum(sign * cos(2 * end) for end, sign in ends) / (4 * (X - x) * (high - low))
        of_y = square * (1 - wave) / 2
        # cos(x - b₁) - cos(x - b₀) = 2 sin(x - m) sin(h), with m the middle of the phases and h half of them.
        m, h = (low + high) / 2, (high - low) / 2
        squared = 0.5 - (sin(2 * (X - m)) - sin(2 * (x - m))) / (4 * (X - x))
        return of_y - ((a + A) / 2 * sin(h) / h) ** 2 * squared

    def _check(self, split: str) -> None:
        if split not in self.splits:
            raise DataError(f"there is no split {split!r} here; there are: {', '.join(self.splits)}")


def _between(bounds: tuple[float, float], u: NDArray[np.float64]) -> NDArray[np.float64]:
    return bounds[0] + (bounds[1] - bounds[0]) * u


def _examples(x: NDArray[np.float64], y: NDArray[np.float64]) -> Examples:
    return Examples(*(torch.from_numpy(a.astype(np.float32))[..., None] for a in (x, y)))
