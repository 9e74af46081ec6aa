"""How far a training is, told to whatever changes in its course."""

import warnings
from typing import Protocol, runtime_checkable

from torch import nn

__all__ = ["HearsProgress", "Staged", "tell_progress", "warn_unheard"]


@runtime_checkable
class HearsProgress(Protocol):
    """A module that changes in the course of training: a path is dropped more often, a loss weighs less."""

    def set_progress(self, fraction: float) -> None:
        """Note that ``fraction`` of the training is done, 0 before the first step and below 1 after it.

        It is called before each step, also before the first step of a resumed training, and never with
        anything but steps done / steps in all: so what is set must depend on ``fraction`` alone. A trained
        learner that is loaded from a file hears nothing.
        """


class Staged:
    """What a module has that begins in another way than it ends: MAML++'s order and weights of the steps.

    Attributes:
        progress: the fraction of the training that is done, as it was heard; 0 at first.
        is_heeded: whether it was heard, or a warning said that it was not.
    """

    progress: float = 0.0
    is_heeded: bool = False

    @property
    def is_staged(self) -> bool:
        """Whether it does another thing later in a training than at its beginning."""
        raise NotImplementedError

    def set_progress(self, fraction: float) -> None:
        """See `HearsProgress`."""
        self.progress, self.is_heeded = fraction, True


def tell_progress(module: nn.Module, fraction: float) -> None:
    """Call ``set_progress(fraction)`` of the module, and of every module within, that has such a method.

    Commands do so before each step. A loop of your own must, before each gradient, where something changes
    in the course of training: with ``first_order_until``, ``step_weights`` or ``stretches="one"``.

    Args:
        module: a learner, or any other.
        fraction: of the training that is done: steps done / steps in all.

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


def warn_unheard(module: nn.Module) -> None:
    """Warn, once of each module, if it does not know how far the training is in which it changes."""
    for part in module.modules():
        if isinstance(part, Staged) and not part.is_heeded and part.training and part.is_staged:
            part.is_heeded = True
            warnings.warn(
                f"{type(part).__name__} changes in the course of training and was not told how far that is, "
                "so that it stays as at the beginning: call fphi.tell_progress(learner, step / steps) before "
                "each gradient",
                stacklevel=4,  # of whoever calls meta_gradient, which is checked
            )
