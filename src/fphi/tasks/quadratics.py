"""Random quadratic functions: the optimization problems that learned optimizers are first tried on."""

from collections.abc import Sequence
from math import pi

import numpy as np
import torch
from numpy.typing import NDArray

from fphi.errors import DataError
from fphi.ranges import SEED, checked
from fphi.tasks.distribution import TaskDistribution
from fphi.tasks.hashing import stream_key, task_indices, uniform
from fphi.tasks.types import Examples, Task

__all__ = ["QuadraticTasks"]


class QuadraticTasks(TaskDistribution):
    """Minimise f(θ) = ‖Wθ - y‖²; each task has its own W and y, of independent normal numbers.

    A task is a regression: the rows of √n W are examples, and √n y their targets, so that the mean squared
    error of a linear map θ without a constant is f(θ). Support and query set are the same: there is nothing
    but f to be good at. At θ = 0 the expected loss is n. (Andrychowicz et al., NIPS 2016, arXiv 1606.04474,
    section 3.1, with n = 10.)

    Args:
        size: n, the numbers in θ.
        seed: task i of a split is a function of (seed, split, i).

    >>> support, query = QuadraticTasks().batch("train", range(128))
    >>> support.x.shape, query.y.shape
    (torch.Size([128, 10, 10]), torch.Size([128, 10, 1]))
    """

    @checked(seed=SEED)
    def __init__(self, size: int = 10, seed: int = 0) -> None:
        self.size, self.seed = size, seed

    @property
    def splits(self) -> tuple[str, ...]:
        """Training, validation and test; the three draw from one distribution with different numbers."""
        return ("train", "validation", "test")

    @property
    def ways(self) -> None:
        """None: there are no classes."""
        return None

    @property
    def shots(self) -> int:
        """Rows of W."""
        return self.size

    def batch(self, split: str, indices: Sequence[int]) -> Task:
        """Return these tasks: x [B, n, n] and y [B, n, 1] float32, support and query alike."""
        if split not in self.splits:
            raise DataError(f"there is no split {split!r} here; there are: {', '.join(self.splits)}")
        n = self.size
        key, wanted = stream_key(self.seed, split, "quadratic"), task_indices(indices)
        values = _normal(uniform(key, wanted, 2 * n * (n + 1))) * n**0.5
        rows = torch.from_numpy(values.astype(np.float32)).reshape(-1, n, n + 1)
        examples = Examples(rows[..., :n].contiguous(), rows[..., n:].contiguous())
        return Task(examples, examples)


def _normal(u: NDArray[np.float64]) -> NDArray[np.float64]:
    """Normal numbers ``[B, k]`` of uniform ones ``[B, 2k]`` in 0..1 (Box and Muller)."""
    one, other = np.split(u, 2, axis=1)
    return np.asarray(np.sqrt(-2 * np.log1p(-one)) * np.cos(2 * pi * other))
