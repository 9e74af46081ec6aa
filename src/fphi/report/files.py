"""What the reports read and write: ``result.json`` of a run, and text files replaced in one move."""

import json
import os
from pathlib import Path
from typing import NotRequired, TypedDict

from fphi.errors import FphiError

__all__ = ["IntervalRecord", "Result", "StepRecord", "read_result", "read_text", "write_text"]


class IntervalRecord(TypedDict):
    """A mean over test tasks and the half width of its 95 % interval; accuracies are fractions in 0..1."""

    mean: float
    ci95: float


class StepRecord(TypedDict):
    """Query accuracy (fraction; none in regression) and loss after ``step`` inner steps."""

    step: int
    accuracy: NotRequired[float]
    loss: float


class Result(TypedDict):
    """``result.json`` of a run, as far as the reports read it."""

    method: str
    protocol: str
    ways: int
    shots: int
    tasks: int
    seed: int
    accuracy: NotRequired[dict[str, IntervalRecord]]
    loss: NotRequired[IntervalRecord]
    by_step: NotRequired[list[StepRecord]]
    queries: NotRequired[int]
    command: NotRequired[str]
    versions: NotRequired[dict[str, str]]
    budget: NotRequired[dict[str, object]]


def read_text(path: Path) -> str:
    """The UTF-8 text of a file; ``FphiError`` if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FphiError(f"cannot read {path}: {error}; check the path") from error


def read_result(path: Path) -> Result:
    """Read one ``result.json``.

    Raises:
        FphiError: the file is missing, is not a JSON object, or lacks one of the required keys.
    """
    try:
        result = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise FphiError(f"{path} is not valid JSON: {error}; evaluate the run again") from error
    if not isinstance(result, dict):
        raise FphiError(f"{path} holds no JSON object; evaluate the run again")
    missing = sorted(Result.__required_keys__ - result.keys())
    if missing:
        raise FphiError(f"{path} lacks {', '.join(missing)}; evaluate the run again")
    checked: Result = result  # type: ignore[assignment]
    return checked


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text so that a reader sees the old file or the new one, never a part of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise FphiError(f"cannot write {path}: {error}; choose another place") from error
