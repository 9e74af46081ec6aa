"""The tests of a run: what each measured, one file of JSON and one of values per task.

A run's folder holds ``tests/NAME.json`` and ``tests/NAME.safetensors`` for every test of it; NAME says
what was tested, see `test_name`. An architecture search keeps a ``result.json`` instead.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from fphi.errors import FphiError
from fphi.report.checking import problem_of
from fphi.run.disk.checkpoint import BEST
from fphi.run.disk.files import disk_errors, parse_json, replace_file, write_text
from fphi.run.disk.mark import parameters_mark

__all__ = [
    "TESTS",
    "IntervalRecord",
    "StartRecord",
    "StepRecord",
    "TestRecord",
    "is_current",
    "read_record",
    "read_scores",
    "read_tests",
    "read_text",
    "test_name",
    "write_test",
]

TESTS = "tests"  # in the folder of a run


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


class TestRecord(TypedDict):
    """One test of a run, as far as the reports read it.

    ``ways`` is None in regression. ``accuracy`` has ``inductive``, and ``transductive`` too where the
    network has batch statistics. ``split`` is "test" where it is left out, ``turns`` 1; ``test_steps``
    are inner steps before the answer, if not the run's own. ``threads`` are torch's, on which the last digits
    depend. ``parameters`` are the mark of those that were measured. ``classes`` are those of the split,
    where data may gain and lose some, as a number and a digest. ``differs`` says in words what keeps the
    number from being comparable with a published one.
    """

    method: str
    protocol: str
    ways: int | None
    shots: int
    tasks: int
    seed: int
    accuracy: NotRequired[dict[str, IntervalRecord]]
    loss: NotRequired[IntervalRecord]
    measures: NotRequired[dict[str, IntervalRecord]]
    by_step: NotRequired[list[StepRecord]]
    queries: NotRequired[int]
    data: NotRequired[str]
    command: NotRequired[str]
    threads: NotRequired[int]
    versions: NotRequired[dict[str, str]]
    budget: NotRequired[dict[str, object]]
    start: NotRequired[StartRecord]
    split: NotRequired[str]
    images: NotRequired[str]
    turns: NotRequired[int]
    test_steps: NotRequired[int]
    parameters: NotRequired[str]
    classes: NotRequired[str]
    differs: NotRequired[list[str]]


def test_name(  # not a test of pytest's
    ways: int | None,
    shots: int,
    split: str = "test",  # noqa: PT028
    turns: int = 1,  # noqa: PT028
    steps: int | None = None,  # noqa: PT028
) -> str:
    """The name of a test's files.

    Args:
        ways: classes of a task; None in regression.
        shots: support examples of each class, or of a task of regression.
        split: what was tested on.
        turns: how many turns of a task the answers average.
        steps: inner steps before the answer, where they are not the run's own.

    >>> test_name(20, 1), test_name(20, 1, split="trials"), test_name(20, 1, turns=8), test_name(None, 10)
    ('20w1s', '20w1s-trials', '20w1s-turns8', '10s')
    """
    size = f"{shots}s" if ways is None else f"{ways}w{shots}s"
    parts = [
        size,
        split if split != "test" else "",
        f"turns{turns}" if turns > 1 else "",
        "" if steps is None else f"steps{steps}",
    ]
    return "-".join(part for part in parts if part)


def write_test(run: Path, name: str, record: Mapping[str, Any], scores: Mapping[str, Tensor]) -> None:
    """Keep a test in the folder of its run, in place of an earlier one of this name.

    What the earlier one says ``differs`` from the published number is kept, unless the new one says it.

    Args:
        run: the run's folder.
        name: see `test_name`.
        record: a `TestRecord`, and what else is worth keeping. What is not finite is written as null.
        scores: accuracies, losses and measures of each task by name, ``[tasks]`` each.

    Raises:
        FphiError: the folder cannot be written, or the record lacks what the reports read.
    """
    path = run / TESTS / f"{name}.json"
    finite = _finite(dict(record))
    if problem := problem_of(finite, TestRecord.__required_keys__):
        raise FphiError(f"the record of test {name} {problem}; give all of a TestRecord")
    if "differs" not in finite and (earlier := _said_to_differ(path)):
        finite |= {"differs": earlier}
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    # The larger file first: where the disk has no room for it, the earlier test stays whole.
    replace_file(path.with_suffix(".safetensors"), save({k: v.contiguous() for k, v in scores.items()}))
    write_text(path, json.dumps(finite, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_tests(run: Path) -> dict[str, TestRecord]:
    """The tests of a run by name, in alphabetical order; none if it was not tested.

    Those of parameters that it had before do not count: see `is_current`.

    Raises:
        FphiError: a file is not one that `write_test` wrote, or the parameters are damaged.
    """
    paths = {path.stem: path for path in (run / TESTS).glob("*.json")}
    records = {name: read_record(paths[name]) for name in sorted(paths)}
    return {name: record for name, record in records.items() if is_current(run, record)}


def is_current(run: Path, record: TestRecord) -> bool:
    """Whether a test measured the parameters that its run has now.

    It counts as such where that cannot be known: where the record is of an fphi that kept no mark, or the run
    is without its parameters.
    """
    mark, best = record.get("parameters"), run / BEST
    return mark is None or not best.is_file() or mark == parameters_mark(best)


def read_record(path: Path) -> TestRecord:
    """Read one ``tests/NAME.json``.

    Raises:
        FphiError: the file is missing, is not a JSON object, or lacks one of the required keys.
    """
    try:
        record = parse_json(read_text(path))
    except ValueError as error:
        raise FphiError(f"{path} is not valid JSON: {error}; evaluate the run again") from error
    if not isinstance(record, dict):
        raise FphiError(f"{path} holds no JSON object; evaluate the run again")
    if problem := problem_of(record, TestRecord.__required_keys__):
        raise FphiError(f"{path} {problem}; evaluate the run again")
    checked: TestRecord = record  # type: ignore[assignment]
    return checked


def read_scores(run: Path, name: str) -> dict[str, Tensor]:
    """The values per task of a test, ``[tasks]`` each; none if they were not kept.

    Raises:
        FphiError: the file is damaged.
    """
    path = run / TESTS / f"{name}.safetensors"
    if not path.is_file():
        return {}
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise FphiError(f"{path} is damaged ({error}); evaluate the run again") from error


def read_text(path: Path) -> str:
    """The UTF-8 text of a file; ``FphiError`` if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FphiError(f"cannot read {path}: {error}; check the path") from error


def _said_to_differ(path: Path) -> list[str]:
    """What an earlier test says ``differs``; a damaged one is no reason not to replace it."""
    try:
        return read_record(path).get("differs", []) if path.is_file() else []
    except FphiError:
        return []


def _finite(value: Any) -> Any:
    """JSON has no infinity: what is not finite, as the interval of a single task, becomes null."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
