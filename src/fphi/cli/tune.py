"""``fphi tune METHOD``: the same training with different options, and which are the best."""

import shlex
from pathlib import Path

from fphi.cli.arguments import look_ahead
from fphi.errors import FphiError
from fphi.experiment.parser import fields_of
from fphi.experiment.running import ExecutorOptions
from fphi.experiment.tuning.plan import TuneOptions, plan_of
from fphi.experiment.tuning.run import prepare_tuning, tune_as_configured
from fphi.run.show.say import say

__all__ = ["run"]

_USAGE = """usage: fphi tune METHOD [--vary NAME=VALUES]... [options of fphi train METHOD]

Trains a few-shot method with different options, and ends with the command that trains the best.

  --vary inner_lr=0.01:1:log    numbers in a range, uniformly by their logarithm
  --vary inner_steps=1,3,5      one of these values
  --vary outer_lr               its usual values; without --vary those of the method's options

fphi tune METHOD --help lists all options, fphi methods the methods."""
_VARY = (
    "an option with its values (0.01:1, 0.01:1:log, or 1,3,5), or without them; may be given several times"
)


def run(arguments: list[str]) -> int:
    """Parse the command, tune, print the trials, what mattered, and the best one's command."""
    if not arguments or arguments in (["-h"], ["--help"]):
        print(_USAGE)
        return 0
    early = look_ahead(arguments, "method", "network", "tasks")
    name = None if arguments[0].startswith("-") else arguments[0]
    deciding = {"method": name, "network": early.network, "tasks": early.tasks}
    names = {key: value for key, value in deciding.items() if value is not None}
    if name is None:
        raise FphiError(f"the method comes first: fphi tune METHOD {' '.join(arguments)}")
    usual = Path("runs") / f"tune-{name.rpartition(':')[2]}"
    prepared = prepare_tuning(names, early.config, early.out or usual, early.resume)
    parser = prepared.parser
    parser.add_dataclass(TuneOptions)
    parser.add_dataclass(ExecutorOptions)
    parser.add_argument("--vary", action="append", type=str, default=[], help=_VARY)
    parser.add_option("--config", Path, None, "read options from this file, a run's config.yaml")
    parser.add_option("--out", Path, usual, "the tuning's directory; made if missing")
    parser.add_argument("--resume", action="store_true", help="go on with the tuning in --out")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    values = parser.read(arguments[1:]).as_dict()
    fixed = {word[2:].partition("=")[0].replace("-", "_") for word in arguments if word.startswith("--")}
    options = fields_of(TuneOptions, values)
    plan = plan_of(prepared, prepared.config(values), options, values["vary"], fixed)
    out = prepared.named.out
    tuned = tune_as_configured(plan, out, resume=early.resume, executor=fields_of(ExecutorOptions, values))
    if tuned.interrupted:
        files = [
            word for key, path in plan.config.files.items() if key != "method" for word in (f"--{key}", path)
        ]
        resume = shlex.join(["fphi", "tune", name, *files, "--out", str(out), "--resume"])
        say(f"stopped after {len(tuned.ended)} of {plan.trials} trials; go on with: {resume}")
        return 130
    if values["json"]:
        print(tuned.to_json())
        return 0
    tuned.trials_table().show(f"Trials, by {tuned.by} on development tasks")
    tuned.options_table().show("Options")
    print(tuned.command)
    return 0
