"""The progress line of a search on stderr: alive on a terminal, one plain line now and then elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, cast

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from fphi.run.search.history import History
from fphi.run.search.loop import Budget
from fphi.run.show.progress import duration
from fphi.run.show.say import Voice, say

__all__ = ["epoch_line", "search_line"]

# Of the share that is done, and what there is to say; the time left is added.
_Show = Callable[[float, str], None]


@contextmanager
def search_line(title: str, budget: Budget) -> Iterator[Callable[[History], None]]:
    """A function to call with the history after each result.

    Args:
        title: of the search.
        budget: when it ends.
    """
    with _line(title) as show:

        def tell(history: History) -> None:
            done = len(history.records)
            count = f"{done}/{budget.evaluations}" if budget.evaluations else f"{done}"
            cost = f", {history.seconds:.0f}/{budget.seconds:.0f} s" if budget.seconds else ""
            found = history.best and f"{1 - history.best.outcome.loss:.2%}"
            best = f"best validation accuracy {found or 'none: all failed'}"
            show(_share_done(history, budget), f"evaluation {count}{cost}  {best}")

        yield tell


@contextmanager
def epoch_line(title: str) -> Iterator[Callable[[dict[str, float], int], None]]:
    """A function to call with the row of each epoch and the number of epochs."""
    with _line(title) as show:

        def tell(row: dict[str, float], epochs: int) -> None:
            figures = "  ".join(f"{name} {value:.4g}" for name, value in row.items() if name != "epoch")
            show(row["epoch"] / epochs, f"epoch {row['epoch']:.0f}/{epochs}  {figures}")

        yield tell


def _share_done(history: History, budget: Budget) -> float:
    """How much of the budget is spent, from 0 to 1."""
    shares = [0.0]
    if budget.evaluations:
        shares.append(len(history.records) / budget.evaluations)
    if budget.seconds:
        shares.append(history.seconds / budget.seconds)
    return min(1.0, max(shares))


@contextmanager
def _line(title: str) -> Iterator[_Show]:
    began, shown = time.monotonic(), 0.0
    first: float | None = (
        None  # the share done at the first call, before which other sessions may have worked
    )

    def left(share: float) -> str:
        nonlocal first
        if first is None or share == first:  # one result says nothing of the speed after a resume
            first = share
            return ""
        seconds = (time.monotonic() - began) * (1 - share) / (share - first)
        return f"  {duration(seconds)} left"

    def plain(share: float, text: str) -> None:
        nonlocal shown
        said = f"{title}: {text}{left(share)}"
        if share == 1 or time.monotonic() - shown >= 1:  # at most one line a second
            shown = time.monotonic()
            say(said)

    if not Voice().isatty():
        yield plain
        return
    columns = (BarColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=Console(file=cast(IO[str], Voice()), force_terminal=True)) as bar:
        task = bar.add_task(f"{title}: starting", total=1.0)
        yield lambda share, text: bar.update(
            task, completed=share, description=f"{title}: {text}{left(share)}"
        )
