"""``fphi evaluate RUN``: across-task testing."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors.torch import save
from torch import Tensor

from fphi.cli.options import Parser, at_least, command_line
from fphi.cli.runs import CONFIG, RunConfig, load_run, versions
from fphi.errors import FphiError
from fphi.learnable import LearningAlgorithm
from fphi.learnable.turning import TurningLearner
from fphi.report.files import read_result, read_text, write_text
from fphi.report.runs import read_log
from fphi.report.tables import Row, methods_table
from fphi.run.checkpoint import BEST, save_parameters
from fphi.run.evaluate import Evaluation, evaluate
from fphi.run.files import replace_file
from fphi.run.ranks import Accelerator, launch
from fphi.run.training import Training
from fphi.tasks import SineTasks, TaskDistribution

__all__ = ["evaluate_run", "run"]


def run(arguments: list[str]) -> int:
    """Parse the command, evaluate, print a table or one JSON object."""
    o = _parser().read(arguments)
    other = {"ways": o.ways, "shots": o.shots, "queries": o.queries, "test_steps": o.test_steps}
    at_least(1, tasks=o.tasks, chunk_size=o.chunk_size, **other)
    at_least(0, steps=o.steps)
    if o.out is not None:
        if o.split not in ("test", "trials"):
            raise FphiError("--out keeps a result on test tasks or trials; leave --split out")
        _require_new(o.out)
    how = (o.run, o.tasks, o.seed, o.split, o.steps, o.chunk_size, o.turns)
    tested = launch(
        lambda ranks: _test(*how, device=ranks.device, data_root=o.data_root, **other), o.accelerator
    )
    # Shown before it is kept: a full disk must not cost an hour's evaluation.
    if o.json:
        print(json.dumps(tested.record, allow_nan=False))
    else:
        methods_table([Row.from_result(tested.record)]).show()  # type: ignore[arg-type]
    if o.out is not None:
        tested.record["command"] += f" && {command_line()}" if command_line() else ""
        tested.keep_as_run(o.out, o.run)
    elif o.split == "test" and o.turns == 1 and not any(other.values()):
        tested.keep(o.run)
    return 0


def _require_new(out: Path) -> None:
    """Before an hour's evaluation, not after it."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FphiError(f"--out {out} is there already, and not an empty folder; choose another")


def _parser() -> Parser:
    parser = Parser("evaluate", "Test a trained run on new tasks; writes result.json into the run.")

    def option(name: str, kind: type, default: object, text: str) -> None:
        parser.add_argument(name, type=kind, default=default, help=text)

    parser.add_argument("run", type=Path, help="directory of the run")
    option("--tasks", int, None, "number of test tasks; if not given, 600, or all of the trials")
    for name, of in {
        "ways": "classes",
        "shots": "support examples per class",
        "queries": "queries per class",
    }.items():
        option(f"--{name}", int, None, f"{of}, if not the run's own; result.json stays as it is")
    option("--seed", int, 0, "of the test tasks: equal seeds, equal tasks; the trials have none")
    option("--split", str, "test", "test; or validation, or trials (P-KOCH, P-LAKE): result.json stays")
    parser.add_argument(
        "--turns",
        type=int,
        choices=(1, 4, 8),
        default=1,
        help="answers are the mean over this many turns of a whole task, 8 with mirror images; likewise",
    )
    option("--test-steps", int, None, "inner steps before the answer, if not the run's own; likewise")
    option("--steps", int, None, "inner steps that by_step goes up to; the run's if not given")
    option(
        "--chunk-size", int, None, "tasks solved at once, which bounds the memory; by their size if not given"
    )
    parser.add_argument(
        "--accelerator",
        choices=get_args(Accelerator),
        default="cpu",
        help="kind of device; auto: the best there is",
    )
    option("--data-root", str, None, "folder that data sets are looked for in; the run's if not given")
    option(
        "--out",
        Path,
        None,
        "make this directory a run of its own: the weights, with the tasks and result of now",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    return parser


@dataclass(frozen=True)
class _Tested:
    """What goes into ``result.json``, the values per task, and what they are of."""

    record: dict[str, Any]
    scores: dict[str, Tensor]
    config: RunConfig
    learner: LearningAlgorithm

    def keep(self, run: Path) -> None:
        """Write the result beside the weights of ``run``."""
        replace_file(run / "per_task.safetensors", save(self.scores))
        write_text(run / "result.json", json.dumps(self.record, indent=1, allow_nan=False) + "\n")

    def keep_as_run(self, out: Path, origin: Path) -> None:
        """Make ``out`` a run of its own, with the training of ``origin`` and the tasks tested on here."""
        write_text(out / CONFIG, self.config.to_yaml())
        write_text(out / "command.txt", f"{self.record['command']}\n")
        if (origin / "log.csv").is_file():
            write_text(out / "log.csv", read_text(origin / "log.csv"))
        save_parameters(out / BEST, self.learner, {"fingerprint": self.config.fingerprint})
        self.keep(out)


def evaluate_run(run: Path, count: int = 600, seed: int = 0) -> dict[str, Any]:
    """Evaluate a run on the test split; the result and the values per task are kept beside its weights."""
    tested = _test(run, count, seed)
    tested.keep(run)
    return tested.record


def _test(
    run: Path,
    count: int | None,
    seed: int,
    split: str = "test",
    steps: int | None = None,
    chunk_size: int | None = None,
    turns: int = 1,
    device: torch.device | None = None,
    **other: str | int | None,
) -> _Tested:
    config, learner, tasks = load_run(run, seed, split, **other)
    most = tasks.count(split)
    if most is not None and (count or most) > most:
        raise FphiError(f"--split {split} has {most} tasks; give --tasks {most} at most, or leave it out")
    count = count or most or 600
    if device is not None:
        learner, tasks = learner.to(device), tasks.on(device)
    tested = learner if turns == 1 else TurningLearner(learner, turns)
    evaluation = evaluate(tested, tasks, split=split, count=count, steps=steps, chunk_size=chunk_size)
    scores = {name: values.contiguous() for name, values in evaluation.per_task().items()}
    return _Tested(_record(config, tasks, split, turns, evaluation, seed, run), scores, config, learner)


def _record(
    config: RunConfig,
    tasks: TaskDistribution,
    split: str,
    turns: int,
    evaluation: Evaluation,
    seed: int,
    run: Path,
) -> dict[str, Any]:
    options = config.tasks
    ways = 1 if isinstance(tasks, SineTasks) else options.ways
    size = options.image_size
    earlier = _earlier(run)
    record = {
        "method": config.name,
        "protocol": tasks.protocol or options.tasks,
        "data": options.tasks,
        **({"split": split} if split != "test" else {}),
        **({"turns": turns} if turns > 1 else {}),
        **({"images": f"{size}×{size} grey"} if options.image_reduction == "area" else {}),
        "ways": ways,
        "shots": options.shots,
        "queries": len(tasks.task(tasks.splits[-1], 0).query.y) // ways,
        **evaluation.to_json(),
        "seed": seed,
        "training_seed": config.training.seed,
        "command": _command(run) or earlier.get("command", ""),
        "budget": _budget(run, config) or earlier.get("budget", {}),
        "versions": versions(),
    }
    if config.training.start_from is not None:
        record["start"] = earlier.get("start") or _start(config.training)
    finite: dict[str, Any] = _finite(record)
    return finite


def _start(training: Training) -> dict[str, str | None]:
    """The run that a training began with; it may be gone since."""
    run = Path(str(training.start_from))
    try:
        method = RunConfig.read(run).name
    except FphiError:
        method = None
    return {"run": run.name, "method": method, "frozen": training.freeze}


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
