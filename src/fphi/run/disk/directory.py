"""The folder of a run: who may write into it."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fphi.errors import FphiError
from fphi.run.disk.checkpoint import BEST, LAST
from fphi.run.disk.files import disk_errors
from fphi.run.disk.locks import lock
from fphi.run.disk.temporary import open_to_append

__all__ = ["beside", "claim", "require_usable"]

_LOCK = ".lock"
# What a folder that holds a run has, the first of it what a run is resumed from.
_OF_A_RUN = (LAST, BEST, "log.csv")


def require_usable(out: Path, resume: bool, files: Sequence[str] = _OF_A_RUN) -> None:
    """Raise unless a new run may begin in ``out`` or, with ``resume``, the run there can go on.

    Args:
        out: the folder.
        resume: whether a run there is to go on.
        files: what a folder that holds a run has, the first of it what a run is resumed from.

    Raises:
        FphiError: a new run would overwrite one, or there is none to resume.
    """
    held = [name for name in files if (out / name).exists()]
    if held and not resume:
        go_on = ", or go on with --resume" if files[0] in held else ""
        raise FphiError(f"{out} already holds a run ({held[0]}); choose another folder{go_on}")
    if resume and files[0] not in held:
        raise FphiError(
            f"there is no run to resume in {out} (no {files[0]}); check the folder, or omit --resume"
        )


def beside(out: Path, word: str) -> Path:
    """The folder next to ``out`` that has its name and ``-word``; ``.`` and ``..`` go by their real names.

    >>> str(beside(Path("runs/maml"), "best"))
    'runs/maml-best'
    """
    named = out.resolve() if out.name in ("", "..") else out
    return named.parent / f"{named.name}-{word}"


@contextmanager
def claim(
    out: Path, resume: bool, files: Sequence[str] = _OF_A_RUN, begun: Callable[[], bool] | None = None
) -> Iterator[None]:
    """Make the folder, and keep other processes from training in it meanwhile; see `require_usable`.

    A new run that is refused before it has done anything leaves the folder as it was: its next try, with the
    mended option, is not kept out of it. A full disk is no refusal, the run can go on when there is room.

    Args:
        out: the folder.
        resume: whether a run there is to go on.
        files: see `require_usable`.
        begun: whether there is something worth keeping; None: always.
    """
    require_usable(out, resume, files)
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        held = open_to_append(out / _LOCK)
    with held:
        if not lock(held.fileno()):
            raise FphiError(f"another process is training in {out}; wait for it, or choose another folder")
        require_usable(out, resume, files)  # another may have come and gone meanwhile
        there = set(os.listdir(out))
        try:
            yield
        except FphiError as error:
            refused = not resume and not isinstance(error.__cause__, OSError)
            if refused and begun is not None and not begun():
                _remove_files(out, set(os.listdir(out)) - there)
            raise


def _remove_files(out: Path, names: Iterable[str]) -> None:
    for name in names:
        if not (out / name).is_dir():
            (out / name).unlink(missing_ok=True)
