"""``fphi evaluate RUN``: across-task testing."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from fphi.cli.options import Parser, at_least
from fphi.cli.runs import RunConfig, load_run, versions
from fphi.errors import FphiError
from fphi.report.files import read_result, read_text, write_text
from fphi.report.runs import read_log
from fphi.report.tables import Row, methods_table
from fphi.run.evaluate import Evaluation, evaluate
from fphi.run.files import replace_file
from fphi.tasks import SineTasks, TaskDistribution

__all__ = ["evaluate_run", "run"]


def run(arguments: list[str]) -> int:
    """Parse the command, evaluate, print a table or one JSON object."""
    parser = Parser("evaluate", "Test a trained run on new tasks; writes result.json into the run.")
    parser.add_argument("run", type=Path, help="directory of the run")
    parser.add_argument("--tasks", type=int, default=600, help="number of test tasks")
    parser.add_argument("--seed", type=int, default=0, help="of the test tasks: equal seeds, equal tasks")
    parser.add_argument(
        "--split", type=str, default="test", help="test, or validation (result.json stays as it is)"
    )
    parser.add_argument(
        "--steps", type=int, default=None, help="inner steps that by_step goes up to; the run's if not given"
    )
    parser.add_argument(
        "--chunk-size", type=int, default=25, help="tasks solved at once, which bounds the memory"
    )
    parser.add_argument(
        "--data-root",
        type=str,
        default=None,
        help="folder that data sets are looked for in; the run's if not given",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    o = parser.read(arguments)
    at_least(1, tasks=o.tasks, chunk_size=o.chunk_size)
    at_least(0, steps=o.steps)
    tested = _test(o.run, o.tasks, o.seed, o.split, o.steps, o.chunk_size, o.data_root)
    # Shown before it is kept: a full disk must not cost an hour's evaluation.
    if o.json:
        print(json.dumps(tested.record, allow_nan=False))
    else:
        from rich.console import Console

        Console().print(methods_table([Row.from_result(tested.record)]).rich())  # type: ignore[arg-type]
    if o.split == "test":
        tested.keep(o.run)
    return 0


@dataclass(frozen=True)
class _Tested:
    """What goes into ``result.json``, and the values per task."""

    record: dict[str, Any]
    scores: dict[str, Tensor]

    def keep(self, run: Path) -> None:
        replace_file(run / "per_task.safetensors", save(self.scores))
        write_text(run / "result.json", json.dumps(self.record, indent=1, allow_nan=False) + "\n")


def evaluate_run(run: Path, count: int = 600, seed: int = 0) -> dict[str, Any]:
    """Evaluate a run on the test split; the result and the values per task are kept beside its weights."""
    tested = _test(run, count, seed)
    tested.keep(run)
    return tested.record


def _test(
    run: Path,
    count: int,
    seed: int,
    split: str = "test",
    steps: int | None = None,
    chunk_size: int = 25,
    data_root: str | None = None,
) -> _Tested:
    config, learner, tasks = load_run(run, data_root, seed)
    evaluation = evaluate(learner, tasks, split=split, count=count, steps=steps, chunk_size=chunk_size)
    scores = {name: values.contiguous() for name, values in evaluation.per_task().items()}
    return _Tested(_record(config, tasks, evaluation, seed, run), scores)


def _record(
    config: RunConfig, tasks: TaskDistribution, evaluation: Evaluation, seed: int, run: Path
) -> dict[str, Any]:
    options = config.tasks
    ways = 1 if isinstance(tasks, SineTasks) else options.ways
    earlier = _earlier(run)
    record = {
        "method": config.name,
        "protocol": tasks.protocol or options.tasks,
        "data": options.tasks,
        "ways": ways,
        "shots": options.shots,
        "queries": len(tasks.task("test", 0).query.y) // ways,
        **evaluation.to_json(),
        "seed": seed,
        "training_seed": config.training.seed,
        "command": _command(run) or earlier.get("command", ""),
        "budget": _budget(run, config) or earlier.get("budget", {}),
        "versions": versions(),
    }
    finite: dict[str, Any] = _finite(record)
    return finite


def _finite(value: Any) -> Any:
    """JSON has no infinity: what is not finite, as the interval of a single task, becomes null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _earlier(run: Path) -> Mapping[str, Any]:
    """The result that was there before: it knows of the training what a run without its log has lost."""
    try:
        return read_result(run / "result.json")
    except FphiError:
        return {}


def _command(run: Path) -> str:
    try:
        return read_text(run / "command.txt").strip()
    except FphiError:
        return ""


def _budget(run: Path, config: RunConfig) -> dict[str, object]:
    """What the training took, from the last row of its log; empty without one."""
    try:
        rows = read_log(run / "log.csv")
    except FphiError:  # damaged: no reason to throw the evaluation away
        rows = []
    if not rows:
        return {}
    step, seconds = int(rows[-1]["step"]), float(rows[-1].get("seconds") or 0)
    return {
        "meta-steps": step,
        "training tasks": step * config.training.meta_batch,
        "seconds": round(seconds),
    }
