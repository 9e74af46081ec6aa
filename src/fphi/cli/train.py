"""``fphi train METHOD`` and ``fphi search METHOD``: one command, whatever the method learns."""

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fphi.cli.arguments import command_line, look_ahead
from fphi.errors import FphiError
from fphi.experiment.config import CONFIG, Config
from fphi.experiment.launcher import Job, LaunchOptions, submit, without_launcher
from fphi.experiment.parser import fields_of
from fphi.experiment.prepare import Named, prepare
from fphi.experiment.running import ExecutorOptions, SeedsOptions
from fphi.experiment.search.augmenting_result import recommendation
from fphi.experiment.search.options import TableOptions, spaces
from fphi.experiment.search.result import summary
from fphi.experiment.search.steps import StoppedError
from fphi.experiment.search.table import require_fitting_table, search_table, summary_of_table
from fphi.experiment.seeds import SEEDS, seed_folder, seeds_in, train_seeds_as_configured
from fphi.experiment.training import train_as_configured
from fphi.experiment.verdict import verdict
from fphi.methods.base import FewShotMethod
from fphi.methods.families.searching import EpochwiseMethod, SearchMethod
from fphi.methods.families.weighting import WeightingMethod
from fphi.methods.table import methods
from fphi.report.tables import Table
from fphi.report.weighting import advice, advice_over_seeds, weighting_summary
from fphi.run.disk.checkpoint import LAST
from fphi.run.meta.training import Training, TrainingResult
from fphi.run.show.say import say

__all__ = ["run", "search"]

_DECIDING = ("space", "few_shot", "network", "tasks", "executor", "ray_address")


def run(arguments: list[str]) -> int:
    """``fphi train``."""
    return _run("train", arguments)


def search(arguments: list[str]) -> int:
    """``fphi search``, the word that people know for what searches."""
    return _run("search", arguments)


def _run(word: str, arguments: list[str]) -> int:
    """Parse the command, train or search, and say where the result is."""
    if not arguments or arguments in (["-h"], ["--help"]):
        _usage(word)
        return 0
    early = look_ahead(arguments, "method", *_DECIDING)
    name = None if arguments[0].startswith("-") else arguments[0]
    if name is None and not early.config:
        raise FphiError(f"the method comes first: fphi {word} METHOD {' '.join(arguments)}")
    deciding = {"method": name, **{k: getattr(early, k) for k in _DECIDING}}
    names = {key: value for key, value in deciding.items() if value is not None}
    usual = Path("runs") / (name or "run").rpartition(":")[2]
    folder = early.out or usual
    kept = seeds_in(folder) if early.resume else ()
    begun = seed_folder(folder, kept[0]) if kept else folder
    prepared = prepare(Named(word, names, early.config, begun, early.resume))
    searches = prepared.schema.space is not None
    parser = prepared.parser
    parser.add_option("--config", Path, None, "read options from this file, a run's config.yaml")
    parser.add_option("--out", Path, usual, "the run's directory; made if missing")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_dataclass(SeedsOptions)
    parser.add_dataclass(LaunchOptions)
    parser.add_dataclass(TableOptions if searches else ExecutorOptions)
    options = arguments if name is None else arguments[1:]
    values = parser.read(options).as_dict()
    config = prepared.config(values)
    tables = fields_of(TableOptions, values)
    if searches:
        require_fitting_table(
            config, tables, parser.given(options), of_directory=early.resume or early.out is not None
        )
    seeds, out = max(fields_of(SeedsOptions, values).seeds or 1, len(kept)), folder
    launch = fields_of(LaunchOptions, values)
    if launch.launcher is not None:
        return _submit(word, arguments, launch, config, out)
    if (seeds > 1 or kept) and tables.table is None:
        executor = fields_of(ExecutorOptions, values)
        return _seeds(word, config, out, seeds, executor, resume=early.resume, as_json=values["json"])
    if issubclass(prepared.schema.method, WeightingMethod):
        _require_seeds(fields_of(ExecutorOptions, values))
        return _weighting(config, out, resume=early.resume, as_json=values["json"])
    if not searches:
        _require_seeds(fields_of(ExecutorOptions, values))
        return _few_shot(config, out, resume=early.resume, as_json=values["json"])
    return _search(config, tables, out, seeds, resume=early.resume, as_json=values["json"])


def _submit(word: str, arguments: list[str], launch: LaunchOptions, config: Config, out: Path) -> int:
    """The same command as a job."""
    held = [out / (LAST if isinstance(config.method, FewShotMethod) else CONFIG), out / SEEDS]
    job = Job([word, *without_launcher(arguments)], held)
    machines = config.part(Training) if config.has(Training) else Training()
    if job.has_begun and "--resume" not in arguments:
        raise FphiError(f"{out} already holds a run; choose another folder, or go on with --resume")
    return submit(launch, job, out / "jobs", nodes=machines.nodes, devices=machines.devices)


def _seeds(
    word: str,
    config: Config,
    out: Path,
    seeds: int,
    executor: ExecutorOptions,
    *,
    resume: bool,
    as_json: bool,
) -> int:
    runs = train_seeds_as_configured(config, out, seeds, executor, resume=resume)
    if runs.stopped:
        say(f"stopped after {len(runs.runs)} of {seeds} seeds; go on with: {_resume(word, config, out)}")
        return 130
    _shown(runs.to_json(), runs.table(), as_json, *advice_over_seeds(runs))
    return 0 if runs.ended == len(runs.runs) else 1


def _require_seeds(executor: ExecutorOptions) -> None:
    """Raise if it is said where the runs of many seeds are, and there is one."""
    if executor != ExecutorOptions():
        raise FphiError(
            f"--executor {executor.executor} is where the runs of --seeds are: give --seeds, or leave it out"
        )


def _few_shot(config: Config, out: Path, *, resume: bool, as_json: bool) -> int:
    result = train_as_configured(config, out, resume=resume, command=command_line())
    evaluate = shlex.join(["fphi", "evaluate", str(out), *_files(config)])
    if result is None:
        print(f"{config.name} learns nothing across tasks: its start is in {out}; {evaluate}")
        return 0
    assert isinstance(result, TrainingResult)
    if result.interrupted:
        say(f"stopped at step {result.step}; go on with: {_resume('train', config, out)}")
        return 130
    print(json.dumps(asdict(result)) if as_json else f"{result}; {evaluate}")
    for line in verdict(config, result, out):
        say(line)
    return 0


def _weighting(config: Config, out: Path, *, resume: bool, as_json: bool) -> int:
    try:
        result = train_as_configured(config, out, resume=resume, command=command_line())
    except StoppedError as stopped:
        say(f"stopped {stopped}; go on with: {_resume('train', config, out)}")
        return 130
    assert isinstance(result, dict)
    _shown(result, weighting_summary(result), as_json, *advice(result))
    return 0


def _search(
    config: Config, tables: TableOptions, out: Path, seeds: int, *, resume: bool, as_json: bool
) -> int:
    try:
        if tables.table is not None:
            record = search_table(config, tables, seeds)
            _shown(record, summary_of_table(record), as_json)
            return 0
        result = train_as_configured(config, out, resume=resume, command=command_line())
    except StoppedError as stopped:
        kept = tables.table is None
        say(f"stopped {stopped}" + (f"; go on with: {_resume('search', config, out)}" if kept else ""))
        return 130
    assert isinstance(result, dict)
    _shown(result, summary(result), as_json)
    if as_json:
        return 0
    if "augmentation" in result:
        print(result["augmentation"])
        print(recommendation(result, str(out)))
        return 0
    print(result["architecture"])
    if "failure" not in result["retrained"]:
        print(shlex.join(["fphi", "build", str(out)]))
    return 0


def _shown(record: dict[str, Any], table: Table, as_json: bool, *said: str) -> None:
    if as_json:
        print(json.dumps(record))
    else:
        table.show()
        print("".join(f"{line}\n" for line in said), end="")


def _files(config: Config, *but: str) -> list[str]:
    """The options that name what is in files of Python, but for some."""
    return [word for key, named in config.files.items() if key not in but for word in (f"--{key}", named)]


def _resume(word: str, config: Config, out: Path) -> str:
    return shlex.join(["fphi", word, config.name, *_files(config, "method"), "--out", str(out), "--resume"])


def _usage(word: str) -> None:
    """The methods, and where help is."""
    searches = word == "search"
    found = SearchMethod | EpochwiseMethod
    listed = {k: cls for k, cls in methods().items() if issubclass(cls, found) == searches}
    others = "" if searches else "\n  " + ", ".join(k for k in methods() if k not in listed)
    names = "\n".join(f"  {name:<24}{cls.paper}" for name, cls in listed.items())
    print(f"usage: fphi {word} METHOD [options]\n\nmethods:\n{names}")
    if others:
        print(f"\nsearches, as fphi search has them:{others}")
    else:
        print(f"\nspaces: {', '.join(spaces())}")
    print(f"\nA method in a file of yours is FILE.py:NAME. fphi {word} METHOD --help lists its options")
    print("(of a search those of --space and --few-shot, where these are given too).")
