"""How far a training is, told to whatever changes in its course."""

from typing import Protocol, runtime_checkable

from torch import nn

__all__ = ["HearsProgress", "tell_progress"]


@runtime_checkable
class HearsProgress(Protocol):
    """A module that changes in the course of training: a path is dropped more often, a loss weighs less."""

    def set_progress(self, fraction: float) -> None:
        """Note that ``fraction`` of the training is done, 0 before the first step and below 1 after it.

        It is called before each step, also before the first step of a resumed training, and never with
        anything but steps done / steps in all: so what is set must depend on ``fraction`` alone. A trained
        learner that is loaded from a file hears nothing.
        """


def tell_progress(module: nn.Module, fraction: float) -> None:
    """Call ``set_progress(fraction)`` of the module, and of every module within, that has such a method.

    >>> class Fading(nn.Module):
    ...     weight = 1.0
    ...
    ...     def set_progress(self, fraction):
    ...         self.weight = 1 - fraction
    >>> learner = nn.Sequential(nn.Linear(2, 2), Fading())
    >>> tell_progress(learner, 0.25)
    >>> learner[1].weight
    0.75
    """
    for part in module.modules():
        if isinstance(part, HearsProgress):
            part.set_progress(fraction)
