"""The loop of a search in a supernet: an epoch, its checkpoint, its row; until the epochs are done."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from torch import nn

from fphi.errors import FphiError
from fphi.learnable.space import Tokens
from fphi.optimize.epochs import EpochRow
from fphi.run.disk.checkpoint import LAST, Stateful, TrainingState, read_checkpoint, save_checkpoint

__all__ = ["SupernetSearch", "TellEpoch", "restore", "train_supernet"]

# Called with the row of an epoch and the number of epochs.
TellEpoch = Callable[[EpochRow, int], None]


class SupernetSearch(Stateful, Protocol):
    """A search that stands somewhere: `WeightSharing`, `Bilevel`."""

    rows: list[EpochRow]

    @property
    def epochs(self) -> int:
        """How many there are to be."""

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to do."""

    @property
    def module(self) -> nn.Module:
        """What a checkpoint has the parameters and buffers of."""

    @property
    def fingerprint(self) -> str:
        """Two searches with the same one take the same course."""

    def step(self) -> EpochRow:
        """The next epoch, which is appended to the rows."""

    def result(self) -> Tokens:
        """What the search prefers."""


def train_supernet(
    search: SupernetSearch, *, out: Path | None = None, tell: TellEpoch | None = None
) -> list[EpochRow]:
    """Go on to the end; the rows of all epochs.

    Args:
        search: new, or restored.
        out: folder of the checkpoint, replaced after each epoch; None: there is none.
        tell: called with each new row.

    Raises:
        FphiError: the weights diverge; the checkpoint cannot be written.
    """
    while not search.ended:
        row = search.step()
        if out is not None:
            state = TrainingState(step=len(search.rows))
            save_checkpoint(out / LAST, search.module, search, state, search.fingerprint)
        if tell is not None:
            tell(row, search.epochs)
    return search.rows


def restore(search: SupernetSearch, out: Path) -> None:
    """Bring a new search to where the checkpoint in ``out`` stood.

    Raises:
        FphiError: there is none, it is damaged, or it is of a search with other settings.
    """
    checkpoint = read_checkpoint(out / LAST)
    if checkpoint.fingerprint != search.fingerprint:
        raise FphiError(
            f"{out / LAST} is of a search with other settings ({checkpoint.fingerprint}); "
            "resume with the options that it began with, or search anew in another folder"
        )
    checkpoint.restore(search.module, search)
    if len(search.rows) != checkpoint.state.step:
        raise FphiError(
            f"{out / LAST} is of {checkpoint.state.step} epochs and holds {len(search.rows)}; "
            "search anew in another folder"
        )
