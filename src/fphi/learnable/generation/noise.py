"""Random numbers of a batch of tasks, which neither its division into chunks nor ``vmap`` changes."""

import torch
from torch import Tensor

__all__ = ["TaskNoise"]


class TaskNoise:
    """A stream of random numbers for each task of a batch.

    Each task's has its own seed, drawn from torch's generator task by task: what a task draws depends on its
    place among all tasks, and not on those that are solved together with it.

    Args:
        like: ``[B, ...]``, for the number of tasks, the device and the type of numbers.
    """

    def __init__(self, like: Tensor) -> None:
        seeds = [int(torch.randint(2**62, ())) for _ in range(len(like))]
        self._streams = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._like = like

    def normal(self, *shape: int) -> Tensor:
        """N(0, 1), ``[B, *shape]``."""
        return self._of_all([torch.randn(shape, generator=stream) for stream in self._streams])

    def kept(self, rate: float, *shape: int) -> Tensor:
        """Dropout's factors ``[B, *shape]``: 0 with probability ``rate`` < 1, else 1 / (1 - rate)."""
        kept = [torch.rand(shape, generator=stream) >= rate for stream in self._streams]
        return self._of_all(kept) / (1 - rate)

    def _of_all(self, tasks: list[Tensor]) -> Tensor:
        return torch.stack(tasks).to(self._like)
