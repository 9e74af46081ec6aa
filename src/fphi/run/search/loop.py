"""The loop of a search: ask for candidates, evaluate them, tell the losses, until the budget is spent."""

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

from fphi.errors import FphiError
from fphi.learnable.space import Candidate
from fphi.objective.outcome import Evaluate, Outcome, failed
from fphi.optimize.ask_tell import SearchOptimizer
from fphi.run.disk.interrupt import interrupts
from fphi.run.disk.schema import numbers, shortened
from fphi.run.search.executors import Executor, InThisProcess
from fphi.run.search.history import History, checked_outcome

__all__ = ["Budget", "search"]


@dataclass(frozen=True)
class _Running:
    candidate: Candidate
    start: float


@dataclass(frozen=True)
class Budget:
    """When a search ends: before an evaluation that would begin beyond one of these.

    Args:
        evaluations: architectures evaluated; None: any number.
        seconds: that evaluations cost together, measured or simulated; the last one may overshoot.
    """

    evaluations: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        """A search needs an end."""
        given = [bound for bound in (self.evaluations, self.seconds) if bound is not None]
        if not given or not all(bound > 0 for bound in given):  # nan neither
            raise FphiError(
                f"evaluations={self.evaluations}, seconds={self.seconds}: give at least one, above 0"
            )

    def allows_another(self, asked: int, seconds: float) -> bool:
        """Whether one more evaluation may begin."""
        enough = self.evaluations is not None and asked >= self.evaluations
        return not enough and (self.seconds is None or seconds < self.seconds)


def search(
    optimizer: SearchOptimizer,
    evaluate: Evaluate,
    budget: Budget,
    *,
    history: History | None = None,
    executor: Executor | None = None,
    progress: Callable[[History], None] | None = None,
) -> History:
    """Search until the budget is spent, or SIGTERM or Ctrl-C asks for an end.

    Args:
        optimizer: new, then it is brought to where the history ends; or the one that the history is of.
        evaluate: a candidate's loss. One that raises, whose process dies, or whose outcome is none (a loss or
            a measure that is no number, seconds below 0) has the worst loss so far and the reason on record,
            and is never the best; the search goes on.
        budget: of evaluations or of their seconds.
        history: to be continued. What was being evaluated when it broke off is evaluated first.
        executor: where candidates are evaluated; by default here, one after another.
        progress: called with the history after each result.

    Returns:
        The history with all results.
    """
    history = history or History()
    history.replay(optimizer)
    executor = executor or InThisProcess()
    left_over = deque(history.in_flight.values())
    running: dict[Future[Outcome], _Running] = {}
    with interrupts() as interrupt:
        while not interrupt.requested:
            while len(running) < executor.slots:
                candidate = left_over.popleft() if left_over else _next(optimizer, history, budget)
                if candidate is None:
                    break
                start = time.monotonic()
                running[executor.submit(evaluate, candidate)] = _Running(candidate, start)
            if not running:
                break
            # With a time limit, so that a signal is noticed while a long evaluation runs elsewhere.
            done, _ = wait(running, timeout=1.0, return_when=FIRST_COMPLETED)
            for future in sorted(done, key=lambda f: running[f].candidate.number):
                candidate = running[future].candidate
                outcome = _outcome(future, running.pop(future).start, history.worst)
                optimizer.tell(candidate, outcome.loss, failed=bool(outcome.failure))
                history.told(candidate, outcome, _standing(optimizer))
                if progress is not None:
                    progress(history)
    return history


def _next(optimizer: SearchOptimizer, history: History, budget: Budget) -> Candidate | None:
    """The next candidate, on record; None if the budget is spent, or others have to be told first."""
    if not (optimizer.ready and budget.allows_another(optimizer.asked, history.seconds)):
        return None
    candidate = optimizer.ask()
    history.asked(candidate)
    return candidate


def _outcome(future: Future[Outcome], start: float, worst: float) -> Outcome:
    """What came of an evaluation; if it has no finite loss, the worst so far and the reason."""
    error = future.exception()
    if error is not None:  # its time counts: a search whose candidates all fail must come to its end
        return replace(failed(error, time.monotonic() - start), loss=worst)
    try:
        outcome = _plain(future.result())
    except (ValueError, OverflowError) as wrong:
        return Outcome(worst, time.monotonic() - start, f"the evaluation gave no outcome: {wrong}")
    if not math.isfinite(outcome.loss):
        outcome = replace(outcome, failure=outcome.failure or f"diverged: its loss is {outcome.loss}")
    return replace(outcome, loss=worst) if outcome.failure else outcome


def _plain(given: object) -> Outcome:
    """An outcome whose numbers are Python's own.

    Raises:
        ValueError: it is none, or has something else in place of numbers.
    """
    if not isinstance(given, Outcome):
        raise ValueError(f"{shortened(given)} is none")
    loss, seconds = _number(given.loss), _number(given.seconds)
    return checked_outcome(loss, seconds, given.failure, _numbers(given.measures))


def _standing(optimizer: SearchOptimizer) -> dict[str, float]:
    """An optimizer's figures as a history can hold them."""
    try:
        return numbers(_numbers(optimizer.standing()), "standing")
    except ValueError as error:
        name = type(optimizer).__name__
        raise FphiError(f"standing() of {name} gives no numbers: {error}; mend the optimizer") from error


def _numbers(values: Any) -> Any:
    return {str(k): _number(v) for k, v in values.items()} if isinstance(values, Mapping) else values


def _number(value: Any) -> Any:
    """A number of NumPy or torch as Python has it; what is no single number as it is."""
    if hasattr(value, "item"):
        with suppress(ValueError, RuntimeError):  # there are several in it
            value = value.item()
    return float(value) if type(value) is not bool and isinstance(value, Real) else value
