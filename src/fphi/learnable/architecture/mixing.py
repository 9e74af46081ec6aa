"""Spaces whose architectures can be mixed into one network, in shares that gradient descent decides."""

from typing import Protocol, runtime_checkable

from fphi.learnable.mixture import Mixture

__all__ = ["MixingSpace"]


@runtime_checkable
class MixingSpace(Protocol):
    """A space whose architectures can be mixed."""

    def mixture(self, input_shape: tuple[int, ...], outputs: int) -> Mixture:
        """All architectures in one network, freshly initialised."""
