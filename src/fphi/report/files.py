"""What the reports read and write: ``result.json`` of a run, and text files replaced in one move."""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NotRequired, TypedDict

from fphi.errors import FphiError

__all__ = [
    "IntervalRecord",
    "Result",
    "StepRecord",
    "is_of_a_search",
    "read_result",
    "read_text",
    "write_text",
]


class IntervalRecord(TypedDict):
    """A mean over test tasks and the half width of its 95 % interval; accuracies are fractions in 0..1.

    What is not finite is None: the interval of a single task, a loss that has overflowed.
    """

    mean: float | None
    ci95: float | None


class StepRecord(TypedDict):
    """Query accuracy (fraction; none in regression) and loss after ``step`` inner steps."""

    step: int
    accuracy: NotRequired[float]
    loss: float | None


class StartRecord(TypedDict):
    """What a training began with: a run by its name, its method if that is known, and what it kept of it."""

    run: str
    method: str | None
    frozen: str | None


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
    measures: NotRequired[dict[str, IntervalRecord]]
    by_step: NotRequired[list[StepRecord]]
    queries: NotRequired[int]
    command: NotRequired[str]
    versions: NotRequired[dict[str, str]]
    budget: NotRequired[dict[str, object]]
    start: NotRequired[StartRecord]
    split: NotRequired[str]
    images: NotRequired[str]
    turns: NotRequired[int]


def read_text(path: Path) -> str:
    """The UTF-8 text of a file; ``FphiError`` if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FphiError(f"cannot read {path}: {error}; check the path") from error


def is_of_a_search(path: Path) -> bool:
    """Whether a ``result.json`` is that of an architecture search, which has no tasks."""
    try:
        result = json.loads(read_text(path))
    except json.JSONDecodeError:
        return False  # whoever reads it will say what is wrong
    return isinstance(result, dict) and result.get("kind") == "architecture search"


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
    problem = _problem(result)
    if problem:
        raise FphiError(f"{path} {problem}; evaluate the run again")
    checked: Result = result  # type: ignore[assignment]
    return checked


def _problem(result: Mapping[str, object]) -> str:
    """What is wrong with a result, as far as the reports read it; "" if nothing is."""
    missing = sorted(Result.__required_keys__ - result.keys())
    if missing:
        return f"lacks {', '.join(missing)}"
    whole = ("ways", "shots", "tasks", "seed")
    wrong = [key for key in whole if type(result[key]) is not int]
    wrong += [key for key in ("method", "protocol") if not isinstance(result[key], str)]
    records = {"loss": result["loss"]} if "loss" in result else {}
    for name in ("accuracy", "measures"):
        group = result.get(name, {})
        records |= group if isinstance(group, dict) else {name: group}
    wrong += [key for key, record in records.items() if not _is_interval(record)]
    wrong += [key for key in ("versions", "budget", "start") if not isinstance(result.get(key, {}), dict)]
    wrong += [] if _are_steps(result.get("by_step", [])) else ["by_step"]
    return f"has no valid {', '.join(wrong)}" if wrong else ""


def _is_interval(record: object) -> bool:
    return isinstance(record, dict) and all(_is_number(record.get(key, "")) for key in ("mean", "ci95"))


def _are_steps(records: object) -> bool:
    return isinstance(records, list) and all(
        isinstance(r, dict) and type(r.get("step")) is int and all(map(_is_number, r.values()))
        for r in records
    )


def _is_number(value: object) -> bool:
    """Whether a value of JSON is a number, or what stands for one that is not finite."""
    return value is None or type(value) in (int, float)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text so that a reader sees the old file or the new one, never a part of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except (OSError, UnicodeEncodeError) as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise FphiError(f"cannot write {path}: {error}; choose another place") from error
