"""Minibatches of clean examples for a loop that takes as many as it needs."""

from collections.abc import Iterable, Iterator

from fphi.errors import FphiError
from fphi.optimize.weighting import Pair

__all__ = ["endless"]


def endless(loader: Iterable[Pair]) -> Iterator[Pair]:
    """The minibatches of a loader again and again, shuffled anew each time if the loader shuffles.

    Raises:
        FphiError: it has none.
    """
    while True:
        empty = True
        for batch in loader:
            empty = False
            yield batch
        if empty:
            raise FphiError("the loader of clean examples gives no minibatch; give it at least one example")
