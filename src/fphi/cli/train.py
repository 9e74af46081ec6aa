"""``fphi train METHOD``: across-task training."""

import functools
import shlex
import sys
from pathlib import Path
from typing import Any

from fphi.cli.options import Parser, TaskOptions, command_line, fields_of, look_ahead
from fphi.cli.runs import (
    CONFIG,
    FREE,
    RunConfig,
    add_options,
    read_values,
    resume_command,
    written_fingerprint,
)
from fphi.cli.start import located_start, require_fair_start
from fphi.errors import FphiError
from fphi.learnable import LearningAlgorithm
from fphi.methods import METHODS, get_method
from fphi.report.files import read_text, write_text
from fphi.run.checkpoint import BEST, load_shared_parameters, save_parameters
from fphi.run.directory import require_usable
from fphi.run.evaluate import calibrate_on, device_of, evaluate
from fphi.run.train import Training, TrainingResult, Validate, train
from fphi.tasks import TaskDistribution

__all__ = ["run", "train_run"]


def run(arguments: list[str]) -> int:
    """Parse the command, train, and say where the result is."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        return 0
    name, rest = arguments[0], arguments[1:]
    if name.startswith("-"):
        raise FphiError(f"the method comes first: fphi train METHOD {' '.join(arguments)}")
    config, out, resume = _parse(name, rest)
    result = train_run(config, out, resume=resume)
    if result is None:
        print(f"{name} learns nothing across tasks: its start is in {out}; {_evaluate_command(out)}")
        return 0
    return _conclude(name, result, out)


def train_run(config: RunConfig, out: Path, *, resume: bool = False) -> TrainingResult | None:
    """Train as configured into ``out``; None for a method that learns nothing across tasks."""
    require_usable(out, resume)
    texts = {CONFIG: config.to_yaml(), "command.txt": _command(config, out) + "\n"}
    if not resume:
        _require_no_other_config(out, texts[CONFIG])
    tasks = config.load_tasks(config.training.seed)
    if not resume:
        require_fair_start(config, tasks)
    learner = config.build(tasks)
    optimizer = config.optimizer(learner)
    if optimizer is None:
        if config.training.start_from is not None:
            load_shared_parameters(Path(config.training.start_from) / BEST, learner)
        for file, text in texts.items():
            write_text(out / file, text)
        save_parameters(out / BEST, learner, {"step": 0, "fingerprint": config.fingerprint})
        return None
    return train(
        learner,
        optimizer,
        tasks,
        config.training,
        out,
        validate=_validation(tasks, config.training),
        resume=resume,
        fingerprint=written_fingerprint(out) if resume else config.fingerprint,
        texts=texts,
    )


def _parse(name: str, arguments: list[str]) -> tuple[RunConfig, Path, bool]:
    method = get_method(name)
    parser = Parser(f"train {name}", f"Meta-train {name}. {method.paper}.")
    parser.add_argument("--config", action="config", help="read options from this file, a run's config.yaml")
    usual = Path("runs") / name
    parser.add_argument("--out", type=Path, default=usual, help="the run's directory; made if missing")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    add_options(parser, name)
    early = look_ahead(arguments, usual)
    begun = _begun(name, early.out) if early.resume else None
    if begun is not None:
        # A resumed run goes on as it was configured; what the command line says besides is compared.
        arguments = ["--config", str(early.out / CONFIG), *arguments]
    for path in early.config:
        _require_method(name, read_values(path))
    values = parser.read(arguments)
    if values.method != name:
        raise FphiError(f"--method is {values.method!r} in fphi train {name}; leave it out")
    tasks = fields_of(TaskOptions, values).located()
    config = located_start(RunConfig(name, fields_of(method, values), tasks, fields_of(Training, values)))
    if begun is not None:
        _require_same(begun, config, values.out)
    return config, values.out, values.resume


def _begun(name: str, out: Path) -> RunConfig:
    """The configuration of the run to go on with."""
    require_usable(out, resume=True)
    begun = RunConfig.read(out)
    if begun.name != name:
        raise FphiError(f"{out} is a run of {begun.name}, not {name}: {resume_command(begun.name, out)}")
    return begun


def _require_method(name: str, values: dict[str, Any]) -> None:
    begun = values.get("method", name)
    if begun != name:
        raise FphiError(f"the configuration is of method {begun!r}, not {name!r}: fphi train {begun}")


def _require_same(begun: RunConfig, config: RunConfig, out: Path) -> None:
    if config.fingerprint == begun.fingerprint:
        return
    before, now = begun.to_dict(), config.to_dict()
    name = next(key for key in before if before[key] != now[key] and key not in FREE)
    raise FphiError(
        f"{out} began with {name} {before[name]}, not {now[name]}; "
        f"resume it without --{name.replace('_', '-')}, or train in another folder"
    )


def _require_no_other_config(out: Path, text: str) -> None:
    """A file of that name may be all that is left of something else."""
    path = out / CONFIG
    if path.exists() and read_text(path) != text:
        raise FphiError(f"{out} already holds another {CONFIG}; choose another folder")


def _command(config: RunConfig, out: Path) -> str:
    """The command that was typed, or one that does the same."""
    again = ["fphi", "train", config.name, "--config", str(out / CONFIG), "--out", f"{out}-again"]
    return command_line() or shlex.join(again)


def _validation(tasks: TaskDistribution, training: Training) -> Validate | None:
    """Accuracy and loss on development tasks; None where the protocol has none."""
    if "validation" not in tasks.splits:
        return None

    on = functools.cache(tasks.on)

    def validate(learner: LearningAlgorithm) -> tuple[float | None, float]:
        here = on(device_of(learner))
        calibrate_on(learner, here)
        result = evaluate(
            learner,
            here,
            split="validation",
            count=training.validation_tasks,
            inductive=False,
            chunk_size=training.chunk_size,
        )
        return (result.accuracy if len(result.transductive) else None), result.loss

    return validate


def _conclude(name: str, result: TrainingResult, out: Path) -> int:
    if result.interrupted:
        print(f"stopped at step {result.step}; go on with: {resume_command(name, out)}", file=sys.stderr)
        return 130
    reached = (
        ""
        if result.validation_accuracy is None
        else f", validation accuracy {result.validation_accuracy:.4f}"
    )
    early = " (no more improvement)" if result.stopped_early else ""
    trained = f"trained {result.step} meta-steps in {result.seconds:.0f} s{early}{reached}"
    print(f"{trained}; {_evaluate_command(out)}")
    return 0


def _evaluate_command(out: Path) -> str:
    return shlex.join(["fphi", "evaluate", str(out)])


def _usage() -> str:
    names = "\n".join(f"  {name:<14}{cls.paper}" for name, cls in sorted(METHODS.items()))
    end = "fphi train METHOD --help lists a method's options."
    return f"usage: fphi train METHOD [options]\n\nmethods:\n{names}\n\n{end}"
