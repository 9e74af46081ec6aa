"""The history of a search: what was asked and told, in order, one JSON object a line.

It is all that a search has to keep. An optimizer is a function of its calls, so a search that went down
is brought back by making the calls again.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fphi.errors import FphiError
from fphi.optimize.ask_tell import Candidate, SearchOptimizer
from fphi.run.files import disk_errors, replace_file
from fphi.run.outcome import Outcome

__all__ = ["HISTORY", "History", "Record"]

HISTORY = "history.jsonl"


@dataclass(frozen=True)
class Record:
    """An evaluated candidate, and figures of the optimizer just after it was told."""

    candidate: Candidate
    outcome: Outcome
    standing: dict[str, float]


class History:
    """The records of a search, kept in a file as they come, or in memory only.

    ``best`` is the record of the lowest validation loss, of equals the first; ``seconds`` the cost of all
    evaluations.

    Args:
        path: the file; None: memory only. What a power cut left half written is dropped.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.records: list[Record] = []
        self.best: Record | None = None
        self.seconds = 0.0
        self.in_flight: dict[int, Candidate] = {}
        self._events = _whole_events(path) if path is not None and path.exists() else []
        self._file = None
        if path is not None:
            replace_file(path, b"".join(_line(event) for event in self._events))
            with disk_errors(path):
                self._file = path.open("ab")

    def replay(self, optimizer: SearchOptimizer) -> None:
        """Bring a new optimizer to where the recorded one stood.

        Raises:
            FphiError: it asks for other candidates, so it is not the one that was recorded.
        """
        for event in self._events:
            if "asked" in event:
                self._replay_asked(optimizer.ask(), event)
            else:
                candidate = self.in_flight[event["told"]]
                outcome = Outcome(event["loss"], event["seconds"], event["failure"], event["measures"])
                optimizer.tell(candidate, outcome.loss)
                self._take(candidate, outcome, event["standing"])

    def asked(self, candidate: Candidate) -> None:
        """Record that a candidate's evaluation begins."""
        self.in_flight[candidate.number] = candidate
        if self._file is not None:
            self._write({"asked": candidate.number, "tokens": candidate.tokens, "parent": candidate.parent})

    def told(self, candidate: Candidate, outcome: Outcome, standing: dict[str, float]) -> None:
        """Record what came of it; on disk when this returns."""
        self._take(candidate, outcome, standing)
        if self._file is not None:
            self._write({"told": candidate.number, **asdict(outcome), "standing": standing})

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _take(self, candidate: Candidate, outcome: Outcome, standing: dict[str, float]) -> None:
        del self.in_flight[candidate.number]
        record = Record(candidate, outcome, standing)
        self.records.append(record)
        self.seconds += outcome.seconds
        if self.best is None or outcome.loss < self.best.outcome.loss:
            self.best = record

    def _replay_asked(self, candidate: Candidate, event: dict[str, Any]) -> None:
        recorded = Candidate(event["asked"], tuple(event["tokens"]), event["parent"])
        if candidate != recorded:
            raise FphiError(
                f"{self.path} holds candidate {recorded.number} as {list(recorded.tokens)}, and the search "
                f"now asks for {list(candidate.tokens)}: another version made it; search anew elsewhere"
            )
        self.in_flight[candidate.number] = candidate

    def _write(self, event: dict[str, Any]) -> None:
        assert self.path is not None
        assert self._file is not None
        line = _line(event)
        with disk_errors(self.path, len(line)):
            self._file.write(line)
            self._file.flush()
            os.fsync(self._file.fileno())


def _line(event: dict[str, Any]) -> bytes:
    return json.dumps(event, separators=(",", ":")).encode() + b"\n"


def _whole_events(path: Path) -> list[dict[str, Any]]:
    """The events; damage before the end is an error, since later events built on what it held."""
    with disk_errors(path):
        lines = path.read_bytes().split(b"\n")
    last = lines.pop()  # what follows the last line's end is no whole event
    del last
    return list(_parsed(path, lines))


def _parsed(path: Path, lines: list[bytes]) -> Iterator[dict[str, Any]]:
    asked: set[int] = set()
    told: set[int] = set()
    for number, line in enumerate(lines, start=1):
        try:
            event = json.loads(line)
            if "asked" in event:
                asked.add(event["asked"])
                _ = event["tokens"], event["parent"]
            else:
                if event["told"] in told or event["told"] not in asked:
                    raise ValueError(f"candidate {event['told']} is told out of turn")
                told.add(event["told"])
                _ = event["loss"], event["seconds"], event["failure"], event["measures"], event["standing"]
        except (ValueError, KeyError, TypeError) as error:
            raise FphiError(
                f"{path} is damaged in line {number} ({' '.join(str(error).split())}); "
                "restore it, or search anew in another folder"
            ) from error
        yield event
