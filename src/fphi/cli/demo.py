"""``fphi demo``: MAML, a prototypical network and training from scratch on the embedded data, in minutes."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from fphi.cli.evaluate import evaluate_run
from fphi.cli.options import Parser, TaskOptions, at_least, require_no_folder
from fphi.cli.runs import CONFIG, RunConfig, load_run
from fphi.cli.train import train_run
from fphi.errors import FphiError
from fphi.learnable import evaluation_mode
from fphi.methods import MAML, FromScratch, Method, Prototypical
from fphi.report.plots import Episode
from fphi.report.runs import read_run, report_runs
from fphi.report.tables import Row, methods_table
from fphi.run.checkpoint import BEST, LAST
from fphi.run.train import Training

__all__ = ["run"]

_TASKS = 300


@dataclass(frozen=True)
class _Part:
    method: Method
    steps: int
    meta_batch: int


# Budgets that fit into five minutes on two cores, not the papers'.
_PARTS: Mapping[str, _Part] = {
    "maml": _Part(MAML(), 450, 16),
    "prototypical": _Part(Prototypical(train_ways=20), 300, 1),
    "from-scratch": _Part(FromScratch(inner_steps=20), 1, 1),
}


def run(arguments: list[str]) -> int:
    """Train what is not trained yet, test all on the same tasks, print a table, write the page."""
    from rich.console import Console

    parser = Parser("demo", "Meta-train and test on the embedded data in a few minutes, and write a report.")
    parser.add_argument("--out", type=Path, default=Path("report.html"), help="the report")
    parser.add_argument(
        "--runs", type=Path, default=Path("runs/demo"), help="folder of the runs; finished ones are kept"
    )
    parser.add_argument("--seed", type=int, default=0, help="of training")
    parser.add_argument(
        "--steps", type=int, default=None, help="meta-steps of each method; some minutes' worth if not given"
    )
    o = parser.read(arguments)
    at_least(1, steps=o.steps)
    require_no_folder(o.out)
    console = Console(markup=False, highlight=False)
    folders = []
    for name, part in _PARTS.items():
        out = o.runs / name
        config = _config(name, part, o.seed, o.steps)
        if (out / CONFIG).is_file() and RunConfig.read(out).fingerprint != config.fingerprint:
            raise FphiError(f"{out} was trained with other options; repeat them, or choose another --runs")
        if not (out / "result.json").is_file():
            console.print(f"{name}: {part.method.paper}")
            _train_and_test(config, out)
        folders.append(out)
    rows = [Row.from_result(read_run(folder).result) for folder in folders]
    console.print(
        methods_table(rows).rich("5-way 1-shot on characters never seen before, per cent of answers right")
    )
    report_runs(o.out, folders, _episodes(folders))
    console.print(f"report: {o.out}")
    return 0


def _config(name: str, part: _Part, seed: int, steps: int | None) -> RunConfig:
    training = Training(
        steps=part.steps if steps is None else steps,
        meta_batch=part.meta_batch,
        seed=seed,
        validate_every=150,
        tensorboard=False,
    )
    return RunConfig(name, part.method, TaskOptions(), training)


def _train_and_test(config: RunConfig, out: Path) -> None:
    begun, best = (out / LAST).is_file(), (out / BEST).is_file()
    if begun or not best:  # what learns nothing across tasks has only its best parameters
        result = train_run(config, out, resume=begun)
        if result is not None and result.interrupted:
            print("the same command goes on from here", file=sys.stderr)
            raise KeyboardInterrupt
    evaluate_run(out, _TASKS)


@torch.no_grad()
def _episodes(folders: list[Path]) -> dict[str, Episode]:
    """The same test task as each method answers it."""
    episodes = {}
    for folder in folders:
        config, learner, tasks = load_run(folder, seed=0)
        task = tasks.task("test", 0)
        with evaluation_mode(learner):
            episodes[config.name] = Episode(task, learner(task.support, task.query.x))
    return episodes
