"""A search in a supernet from its start, or from where it broke off, to what it derives."""

from pathlib import Path

from fphi.learnable.architecture import ArchitectureSpace
from fphi.learnable.space import Tokens
from fphi.methods.families.searching import SupernetMethod
from fphi.optimize.epochs import EpochRow
from fphi.run.search.supernet import TellEpoch, restore, train_supernet
from fphi.tasks.supervised import Supervised
from fphi.within.training import NetworkTraining

__all__ = ["supernet_search"]


def supernet_search(
    method: SupernetMethod,
    space: ArchitectureSpace,
    data: Supervised,
    seed: int,
    *,
    out: Path | None = None,
    resume: Path | None = None,
    tell: TellEpoch | None = None,
) -> tuple[Tokens, list[EpochRow]]:
    """The derived architecture, and the rows of the epochs, the last one with the method's own figures."""
    search = method.begin(space, data, seed)
    if resume is not None:
        restore(search, resume)
    rows = train_supernet(search, out=out, tell=tell)
    return search.result(), [
        *rows[:-1],
        rows[-1] | dict(method.conclude(search, space, data, NetworkTraining())),
    ]
