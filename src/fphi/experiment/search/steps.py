"""The steps of a search that trains: find, by evaluations or in one training; learn with what was found."""

import math
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fphi.errors import FphiError
from fphi.experiment.search.problem import Found, Problem
from fphi.learnable.space import Candidate, Space, Tokens
from fphi.methods.families.searching import EpochwiseMethod, SearchMethod
from fphi.optimize.ask_tell import SearchOptimizer
from fphi.optimize.epochs import EpochRow
from fphi.run.disk.checkpoint import LAST
from fphi.run.disk.interrupt import StoppedError, interrupts, stoppable
from fphi.run.disk.lines import LineFile
from fphi.run.disk.schema import number, numbers, whole
from fphi.run.search.executors import Executor
from fphi.run.search.history import HISTORY, History
from fphi.run.search.history_table import HistoryRow, history_rows
from fphi.run.search.loop import Budget, search
from fphi.run.search.retrain import Retrained
from fphi.run.search.supernet import restore, train_supernet
from fphi.run.search.weights import WeightFolder
from fphi.run.show.say import say
from fphi.run.show.search_progress import epoch_line, search_line
from fphi.within.training import OUT_OF_TIME

__all__ = [
    "SearchRun",
    "StoppedError",
    "by_epochs",
    "by_evaluations",
    "compared_with",
    "retrained",
]


_LONGEST = 1e15  # seconds of a search
_UNTRAINED = "before the end of the retraining"

# Of all candidates with their losses, infinite where they failed, those that make up the result.
Choose = Callable[[Sequence[tuple[Candidate, float]]], tuple[Tokens, ...]]


@dataclass(frozen=True)
class SearchRun:
    """What the steps share.

    Args:
        space: that is searched.
        problem: what candidates are trained for.
        seed: of everything random.
        out: folder of the search.
        executor: where candidates are evaluated.
    """

    space: Space
    problem: Problem
    seed: int
    out: Path
    executor: Executor


def by_evaluations(
    run: SearchRun,
    method: SearchMethod,
    optimizer: SearchOptimizer,
    budget: Budget,
    file: str,
    choose: Choose | None = None,
) -> Found:
    """What candidates that are trained one by one lead to.

    Args:
        run: the search.
        method: its title is the search's; where it inherits, candidates begin with their parents' weights,
            and those of the dead are deleted, where the optimizer knows who they are.
        optimizer: new; it proposes the candidates.
        budget: when it ends.
        file: of the history.
        choose: which candidates make up the result; None: those that the method chooses.

    Raises:
        StoppedError: SIGTERM or Ctrl-C.
        FphiError: no candidate could be trained.
    """
    space = run.space
    weights = WeightFolder(run.out / "weights") if method.inherits else None
    history = History(run.out / file)
    try:
        with search_line(method.title, budget) as show:

            def tell(history: History) -> None:
                if weights is not None and optimizer.parents is not None:
                    weights.keep_only(_with_heirs(optimizer.parents, history))
                show(history)

            search(
                optimizer,
                run.problem.loss(weights),
                budget,
                history=history,
                executor=run.executor,
                progress=tell,
            )
    finally:
        history.close()
    if history.in_flight or budget.allows_another(optimizer.asked, history.seconds):
        raise StoppedError(f"after {len(history.records)} evaluations of {method.title}")
    failures = sum(record.outcome.failure != "" for record in history.records)
    if history.best is None:
        raise _none_trained(run, method, history)
    told = [(r.candidate, math.inf if r.outcome.failure else r.outcome.loss) for r in history.records]
    return Found(
        method.variant,
        (choose or method.chosen)(told),
        1 - history.best.outcome.loss,
        history.seconds,
        len(history.records),
        failures,
        0,
        history_rows(history, space),
    )


def _none_trained(run: SearchRun, method: SearchMethod, history: History) -> FphiError:
    """Why a search has no result, and what to do: to go on with it would lead to the same."""
    first = history.records[0].outcome.failure
    advice = f"try a smaller {run.problem.rate} or smaller networks"
    if first.startswith(OUT_OF_TIME):
        advice = f"search anew in another folder with a longer {run.problem.limit} or smaller networks"
    count = len(history.records)
    return FphiError(
        f"none of {count} candidates of {method.title} could be trained; the first: {first}; {advice}"
    )


def _with_heirs(to_come: Collection[int], history: History) -> set[int]:
    """The candidates that have children ``to_come``, or in training, or that are in training themselves."""
    parents = {candidate.parent for candidate in history.in_flight.values() if candidate.parent is not None}
    return {*to_come, *history.in_flight, *parents}


def by_epochs(run: SearchRun, method: EpochwiseMethod) -> Found:
    """What a search that is one training leads to, then evaluated once as a candidate.

    Raises:
        StoppedError: SIGTERM or Ctrl-C.
    """
    problem = run.problem
    resume = (run.out / LAST).is_file()
    with (
        closing(_EpochLog(run.out / HISTORY)) as log,
        epoch_line(method.title) as show,
        interrupts() as interrupt,
    ):

        def tell(row: dict[str, float], epochs: int) -> None:
            log.add(row)
            show(row, epochs)
            if interrupt.requested:
                raise StoppedError(f"after {row['epoch']:.0f} of {epochs} epochs")

        searching = problem.begin(method)
        if resume:
            restore(searching, run.out)
            log.complete(searching.rows)
        rows = train_supernet(searching, out=run.out, tell=tell)
    tokens = searching.result()
    rows = [*rows[:-1], rows[-1] | dict(problem.conclude(method, searching))]
    judged, seconds = problem.judge(tokens), log.seconds
    return Found(method.variant, (tokens,), judged, seconds, 0, 0, len(rows), log.rows(rows))


def retrained(run: SearchRun, found: Found) -> Retrained:
    """What was found, learned with from new weights, longer, and tested.

    Raises:
        StoppedError: SIGTERM or Ctrl-C.
    """
    count, unit = run.problem.lasting
    say(f"retraining the best of {found.method} for {count} {unit}")
    with stoppable(_UNTRAINED):
        return run.problem.retrain(found)


def compared_with(run: SearchRun, found: Found, retrained: Retrained) -> dict[str, Any]:
    """What was not searched for, trained like what was found, if the problem has such.

    Raises:
        StoppedError: SIGTERM or Ctrl-C.
    """
    with stoppable(_UNTRAINED):
        return run.problem.compared(found, retrained)


class _EpochLog:
    """The rows of a supernet's epochs with the seconds since the search began, over all sessions."""

    def __init__(self, path: Path) -> None:
        self._file = LineFile(path, _epoch, "delete it: only how long the epochs took is lost")
        self._logged = self._file.entries
        self._began = time.monotonic() - (self._logged[-1]["seconds"] if self._logged else 0.0)

    @property
    def seconds(self) -> float:
        """Until the last epoch."""
        return float(self._logged[-1]["seconds"]) if self._logged else time.monotonic() - self._began

    def add(self, row: dict[str, float]) -> None:
        self._logged.append({**row, "seconds": time.monotonic() - self._began})
        self._file.add(self._logged[-1])

    def complete(self, rows: list[EpochRow]) -> None:
        """Add those that a search which went down has kept and not logged; what they took is not known."""
        logged = {row["epoch"] for row in self._logged}
        for row in rows:
            if row["epoch"] not in logged:
                self.add(dict(row))

    def close(self) -> None:
        self._file.close()

    def rows(self, rows: list[EpochRow]) -> list[HistoryRow]:
        """All rows: the method's own, whose last one says more."""
        seconds = {row["epoch"]: row["seconds"] for row in self._logged}
        return [{**row, "seconds": seconds.get(row["epoch"])} for row in rows]


def _epoch(content: dict[str, Any]) -> dict[str, float]:
    row = numbers(content)
    whole(row["epoch"], "epoch", 1)
    number(row["seconds"], "seconds", 0, _LONGEST)
    return row
