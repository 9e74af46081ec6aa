"""The history of a search: what was asked and told, in order, one JSON object a line.

It is all that a search has to keep. An optimizer is a function of its calls, so a search that went down
is brought back by making the calls again.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fphi.errors import FphiError
from fphi.learnable.space import Candidate
from fphi.objective.outcome import WORST, Outcome
from fphi.optimize.ask_tell import SearchOptimizer
from fphi.run.disk.lines import LineFile
from fphi.run.disk.schema import number, numbers, require, shortened, text, whole

__all__ = ["HISTORY", "History", "Record", "checked_outcome"]

HISTORY = "history.jsonl"
_MEND = "restore it, or search anew in another folder"
_LONGEST = 1e15  # seconds of an evaluation, simulated ones too


@dataclass(frozen=True)
class Record:
    """An evaluated candidate, and figures of the optimizer just after it was told."""

    candidate: Candidate
    outcome: Outcome
    standing: dict[str, float]


@dataclass(frozen=True)
class _Told:
    """That candidate ``number`` was told; a `Candidate` is the event that it was asked for."""

    number: int
    outcome: Outcome
    standing: dict[str, float]


_Event = Candidate | _Told


class History:
    """The records of a search, kept in a file as they come, or in memory only.

    ``best`` is the record of the lowest validation loss, of equals the first, None while all have failed;
    ``worst`` the highest loss, which a failure has; ``seconds`` the cost of all evaluations; ``in_flight``
    what was asked for and not told yet, by number. What a file holds counts from `replay` on.

    Args:
        path: the file; None: memory only. What a power cut left half written is dropped.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._file = None if path is None else LineFile(path, _Reader().event, _MEND)
        self._events = [] if self._file is None else self._file.entries
        self._clear()

    def replay(self, optimizer: SearchOptimizer) -> None:
        """Bring a new optimizer to where the recorded one stood; the recorded one itself stands there.

        Raises:
            FphiError: it asks for other candidates, so it is not the one that was recorded.
        """
        asked = sum(isinstance(event, Candidate) for event in self._events)
        if optimizer.asked == asked == len(self.records) + len(self.in_flight):
            return
        if optimizer.asked:
            raise FphiError(
                f"the optimizer was asked for {optimizer.asked} candidates, the history holds {asked}; "
                "give a new optimizer, or the one that the history is of"
            )
        self._clear()
        for event in self._events:
            if isinstance(event, Candidate):
                self._replay_asked(optimizer.ask(), event)
            else:
                failed = bool(event.outcome.failure)
                optimizer.tell(self.in_flight[event.number], event.outcome.loss, failed=failed)
                self._take(event)

    def asked(self, candidate: Candidate) -> None:
        """Record that a candidate's evaluation begins."""
        self.in_flight[candidate.number] = candidate
        self._add(candidate)

    def told(self, candidate: Candidate, outcome: Outcome, standing: dict[str, float]) -> None:
        """Record what came of it; on disk when this returns."""
        event = _Told(candidate.number, outcome, standing)
        self._take(event)
        self._add(event)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _clear(self) -> None:
        self.records: list[Record] = []
        self.best: Record | None = None
        self.worst = WORST
        self.seconds = 0.0
        self.in_flight: dict[int, Candidate] = {}

    def _take(self, event: _Told) -> None:
        record = Record(self.in_flight.pop(event.number), event.outcome, event.standing)
        self.records.append(record)
        self.seconds += event.outcome.seconds
        self.worst = max(self.worst, event.outcome.loss)
        if event.outcome.failure:
            return
        if self.best is None or event.outcome.loss < self.best.outcome.loss:
            self.best = record

    def _replay_asked(self, candidate: Candidate, recorded: Candidate) -> None:
        if candidate != recorded:
            raise FphiError(
                f"{self.path or 'the history'} holds candidate {recorded.number} as {list(recorded.tokens)}, "
                f"and the search now asks for {list(candidate.tokens)}: another search or another version "
                "made it; search anew elsewhere"
            )
        self.in_flight[candidate.number] = candidate

    def _add(self, event: _Event) -> None:
        self._events.append(event)
        if self._file is not None:
            self._file.add(_content(event))


def checked_outcome(loss: Any, seconds: Any, failure: Any, measures: Any) -> Outcome:
    """An outcome of what a history can hold, whose loss need not be finite.

    Raises:
        ValueError: it cannot hold one of them.
    """
    return Outcome(
        number(loss, "loss"),
        number(seconds, "seconds", 0, _LONGEST),
        text(failure, "failure"),
        numbers(measures, "measures"),
    )


def _content(event: _Event) -> dict[str, Any]:
    if isinstance(event, Candidate):
        return {"asked": event.number, "tokens": event.tokens, "parent": event.parent}
    outcome = event.outcome
    content = {"told": event.number, "loss": outcome.loss, "seconds": outcome.seconds}
    return content | {
        "failure": outcome.failure,
        "measures": dict(outcome.measures),
        "standing": event.standing,
    }


class _Reader:
    """Events in the order of a file; an error if they cannot have been written so.

    Damage before the end is one too, since later events built on what it held.
    """

    def __init__(self) -> None:
        self._asked: set[int] = set()
        self._in_flight: set[int] = set()

    def event(self, content: dict[str, Any]) -> _Event:
        event = _event(content)
        if isinstance(event, Candidate):
            require(event.number not in self._asked, f"candidate {event.number} is asked for twice")
            self._asked.add(event.number)
            self._in_flight.add(event.number)
        else:
            require(event.number in self._in_flight, f"candidate {event.number} is told out of turn")
            self._in_flight.remove(event.number)
        return event


def _event(content: dict[str, Any]) -> _Event:
    if "asked" in content:
        parent = content["parent"]
        require(isinstance(content["tokens"], list), f"tokens {shortened(content['tokens'])} are no list")
        tokens = tuple(whole(token) for token in content["tokens"])
        return Candidate(_number(content["asked"]), tokens, None if parent is None else _number(parent))
    outcome = checked_outcome(*(content[key] for key in ("loss", "seconds", "failure", "measures")))
    require(math.isfinite(outcome.loss), f"loss is {outcome.loss}")
    return _Told(_number(content["told"]), outcome, numbers(content["standing"], "standing"))


def _number(value: Any) -> int:
    """Of a candidate."""
    return whole(value, "number", 0)
