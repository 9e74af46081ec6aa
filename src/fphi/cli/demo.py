"""``fphi demo``: MAML, a prototypical network and training from scratch on the embedded data, in minutes."""

from collections.abc import Mapping
from pathlib import Path

from fphi.cli.arguments import require_no_folder
from fphi.errors import FphiError
from fphi.experiment.config import CONFIG, Config
from fphi.experiment.draw import episode_of
from fphi.experiment.evaluation import EvaluationOptions, evaluate_run
from fphi.experiment.loading import load_learner, trained_run
from fphi.experiment.parser import Parser, at_least
from fphi.experiment.prepare import Named, prepare
from fphi.experiment.training import train_as_configured
from fphi.learnable import evaluation_mode
from fphi.methods.table import get_method
from fphi.report.files import read_tests
from fphi.report.plots import Episode
from fphi.report.rows import ResultRow, methods_table
from fphi.report.runs import read_run, report_runs
from fphi.run.disk.checkpoint import BEST, LAST
from fphi.run.meta.training import TrainingResult
from fphi.run.show.say import say

__all__ = ["run"]

_TASKS = 300


# Budgets that fit into a minute on two cores, not the papers'; options by method.
_PARTS: Mapping[str, Mapping[str, object]] = {
    "maml": {"steps": 500, "meta_batch": 4},
    "prototypical": {"steps": 160, "meta_batch": 1, "train_ways": 20, "outer_lr": 0.003},
    "from-scratch": {"steps": 1, "meta_batch": 1, "inner_steps": 10},
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
    folders = []
    for name in _PARTS:
        out = o.runs / name
        config = _config(name, out, o.seed, o.steps)
        if (out / CONFIG).is_file() and Config.read(out).fingerprint(out) != config.fingerprint(out):
            raise FphiError(f"{out} was trained with other options; repeat them, or choose another --runs")
        if not read_tests(out):
            say(f"{name}: {get_method(name).paper}")
            _train_and_test(config, out)
        folders.append(out)
    tested = [read_run(folder) for folder in folders]
    report_runs(o.out, tested, _episodes(folders))
    rows = [ResultRow.from_record(run.record) for run in tested]
    console = Console(markup=False, highlight=False)
    console.print(
        methods_table(rows).rich("5-way 1-shot on characters never seen before, per cent of answers right")
    )
    console.print(f"report: {o.out}")
    return 0


def _config(name: str, out: Path, seed: int, steps: int | None) -> Config:
    prepared = prepare(Named("train", {"method": name}, [], out, False))
    options = {
        "seed": seed,
        "validate_every": 250,
        **_PARTS[name],
        **({} if steps is None else {"steps": steps}),
    }
    return prepared.config(prepared.parser.check({"method": name, **options}))


def _train_and_test(config: Config, out: Path) -> None:
    begun, best = (out / LAST).is_file(), (out / BEST).is_file()
    if begun or not best:  # what learns nothing across tasks has only its best parameters
        result = train_as_configured(config, out, resume=begun)
        if isinstance(result, TrainingResult) and result.interrupted:
            say("the same command goes on from here")
            raise KeyboardInterrupt
    evaluate_run(out, EvaluationOptions(_TASKS)).keep(out)


def _episodes(folders: list[Path]) -> dict[str, Episode]:
    """The same test task as each method answers it."""
    episodes = {}
    for folder in folders:
        trained = trained_run(folder)
        tasks = trained.tasks(0, ["test"])
        learner = load_learner(folder, trained, trained.setting(tasks))
        with evaluation_mode(learner) as answering:
            episodes[trained.config.name] = episode_of(answering, tasks, 0)
    return episodes
