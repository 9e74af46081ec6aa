"""One ordinary learning problem, for what is learned while a single model trains: architectures, policies."""

from typing import NamedTuple

from fphi.tasks.types import Examples

__all__ = ["Supervised"]


class Supervised(NamedTuple):
    """Data of one problem in three parts; ``x`` float32 of mean 0 and deviation 1, ``y`` int64."""

    name: str
    train: Examples
    validation: Examples
    test: Examples
    classes: int

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return tuple(self.train.x.shape[1:])
