"""The history of a search: what was asked and told, in order, one JSON object a line.

It is all that a search has to keep. An optimizer is a function of its calls, so a search that went down
is brought back by making the calls again.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fphi.errors import FphiError
from fphi.learnable.space import Candidate
from fphi.objective.outcome import Outcome
from fphi.optimize.ask_tell import SearchOptimizer
from fphi.run.disk.files import disk_errors, parse_json, replace_file

__all__ = ["HISTORY", "History", "Record"]

HISTORY = "history.jsonl"


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

    ``best`` is the record of the lowest validation loss, of equals the first; ``seconds`` the cost of all
    evaluations; ``in_flight`` what was asked for and not told yet, by number. What a file holds counts
    from `replay` on.

    Args:
        path: the file; None: memory only. What a power cut left half written is dropped.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._events = _whole_events(path) if path is not None and path.exists() else []
        self._file = None
        self._clear()
        if path is not None:
            replace_file(path, b"".join(_line(event) for event in self._events))
            with disk_errors(path):
                # Without a buffer: what a full disk did not take would be tried again when it is closed.
                self._file = path.open("ab", buffering=0)

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
                optimizer.tell(self.in_flight[event.number], event.outcome.loss)
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
        self.seconds = 0.0
        self.in_flight: dict[int, Candidate] = {}

    def _take(self, event: _Told) -> None:
        record = Record(self.in_flight.pop(event.number), event.outcome, event.standing)
        self.records.append(record)
        self.seconds += event.outcome.seconds
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
        if self._file is None:
            return
        assert self.path is not None
        line = _line(event)
        with disk_errors(self.path, len(line)):
            while line:
                line = line[self._file.write(line) :]
            os.fsync(self._file.fileno())


def _line(event: _Event) -> bytes:
    if isinstance(event, Candidate):
        content = {"asked": event.number, "tokens": event.tokens, "parent": event.parent}
    else:
        outcome = event.outcome
        content = {"told": event.number, "loss": outcome.loss, "seconds": outcome.seconds}
        content |= {
            "failure": outcome.failure,
            "measures": dict(outcome.measures),
            "standing": event.standing,
        }
    return json.dumps(content, separators=(",", ":")).encode() + b"\n"


def _whole_events(path: Path) -> list[_Event]:
    """The events; damage before the end is an error, since later events built on what it held."""
    with disk_errors(path):
        lines = path.read_bytes().split(b"\n")
    lines.pop()  # what follows the last line's end is no whole event
    events: list[_Event] = []
    asked: set[int] = set()
    in_flight: set[int] = set()
    for number, line in enumerate(lines, start=1):
        try:
            event = _event(line)
            if isinstance(event, Candidate):
                _require(event.number not in asked, f"candidate {event.number} is asked for twice")
                asked.add(event.number)
                in_flight.add(event.number)
            else:
                _require(event.number in in_flight, f"candidate {event.number} is told out of turn")
                in_flight.remove(event.number)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise FphiError(
                f"{path} is damaged in line {number} ({' '.join(str(error).split())}); "
                "restore it, or search anew in another folder"
            ) from error
        events.append(event)
    return events


def _event(line: bytes) -> _Event:
    """What a line says; a `ValueError`, `KeyError` or `TypeError` if it cannot have been written so."""
    content = parse_json(line)
    if "asked" in content:
        parent = content["parent"]
        tokens = tuple(_whole(token) for token in content["tokens"])
        return Candidate(_whole(content["asked"]), tokens, None if parent is None else _whole(parent))
    _require(isinstance(content["failure"], str), f"failure is {content['failure']!r}")
    outcome = Outcome(
        _number(content["loss"]),
        _number(content["seconds"]),
        content["failure"],
        _numbers(content["measures"]),
    )
    return _Told(_whole(content["told"]), outcome, _numbers(content["standing"]))


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def _whole(value: Any) -> int:
    _require(type(value) is int, f"{value!r} is no whole number")
    return int(value)


def _number(value: Any) -> float:
    _require(type(value) in (int, float), f"{value!r} is no number")
    number: float = value  # a whole one stays one, so that it is written as before
    return number


def _numbers(values: Any) -> dict[str, float]:
    _require(isinstance(values, dict), f"{values!r} are no numbers by name")
    return {name: _number(value) for name, value in values.items()}
