"""``fphi evaluate RUN``: across-task testing."""

import csv
import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from fphi.cli.options import Parser
from fphi.cli.runs import RunConfig, load_run, versions
from fphi.report.files import read_text, write_text
from fphi.report.tables import Row, methods_table
from fphi.run.evaluate import Evaluation, evaluate
from fphi.tasks import TaskDistribution

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
        "--steps", type=int, default=None, help="inner steps that by_step goes up to (default: the run's)"
    )
    parser.add_argument(
        "--chunk-size", type=int, default=25, help="tasks solved at once, which bounds the memory"
    )
    parser.add_argument("--data-root", type=str, default=None, help="folder that data sets are looked for in")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    o = parser.read(arguments)
    result = evaluate_run(o.run, o.tasks, o.seed, o.split, o.steps, o.chunk_size, o.data_root)
    if o.json:
        print(json.dumps(result))
    else:
        from rich.console import Console

        Console().print(methods_table([Row.from_result(result)]).rich())  # type: ignore[arg-type]
    return 0


def evaluate_run(
    run: Path,
    count: int = 600,
    seed: int = 0,
    split: str = "test",
    steps: int | None = None,
    chunk_size: int = 25,
    data_root: str | None = None,
) -> dict[str, Any]:
    """Evaluate a run; on the test split, keep the result and the values per task beside its weights."""
    config, learner, tasks = load_run(run, data_root, seed)
    evaluation = evaluate(learner, tasks, split=split, count=count, steps=steps, chunk_size=chunk_size)
    result = _record(config, tasks, evaluation, seed, run)
    if split == "test":
        scores = {name: values.contiguous() for name, values in evaluation.per_task().items()}
        save_file(scores, run / "per_task.safetensors")
        write_text(run / "result.json", json.dumps(result, indent=1) + "\n")
    return result


def _record(
    config: RunConfig, tasks: TaskDistribution, evaluation: Evaluation, seed: int, run: Path
) -> dict[str, Any]:
    options = config.tasks
    return {
        "method": config.name,
        "protocol": tasks.protocol or options.tasks,
        "data": options.tasks,
        "ways": options.ways,
        "shots": options.shots,
        "queries": len(tasks.task("test", 0).query.y) // options.ways,
        **evaluation.to_json(),
        "seed": seed,
        "training_seed": config.training.seed,
        "command": _command(run),
        "budget": _budget(run, config),
        "versions": versions(),
    }


def _command(run: Path) -> str:
    path = run / "command.txt"
    return read_text(path).strip() if path.is_file() else f"fphi train --config {run / 'config.yaml'}"


def _budget(run: Path, config: RunConfig) -> dict[str, object]:
    """What the training took, from the last row of its log."""
    path = run / "log.csv"
    rows = list(csv.DictReader(read_text(path).splitlines())) if path.is_file() else []
    if not rows:
        return {"meta-steps": 0}
    step, seconds = int(rows[-1]["step"]), float(rows[-1]["seconds"])
    return {
        "meta-steps": step,
        "training tasks": step * config.training.meta_batch,
        "seconds": round(seconds),
    }
