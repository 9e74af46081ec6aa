"""``fphi train METHOD``: across-task training."""

import sys
from pathlib import Path

from fphi.cli.options import Parser, TaskOptions, command_line, fields_of
from fphi.cli.runs import CONFIG, RunConfig
from fphi.errors import FphiError
from fphi.learnable import LearningAlgorithm
from fphi.methods import METHODS, get_method
from fphi.report.files import write_text
from fphi.run.checkpoint import BEST, save_parameters
from fphi.run.directory import require_usable
from fphi.run.evaluate import calibrate_on, evaluate
from fphi.run.ranks import in_first_process
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
        print(f"{name} learns nothing across tasks: its random start is in {out}; fphi evaluate {out}")
        return 0
    return _conclude(result, out)


def train_run(config: RunConfig, out: Path, *, resume: bool = False) -> TrainingResult | None:
    """Train as configured into ``out``; None for a method that learns nothing across tasks."""
    require_usable(out, resume)
    if resume:
        _require_same_method(out, config)
    tasks = config.load_tasks(config.training.seed)
    learner = config.build(tasks)
    if in_first_process() and not resume:
        config.write(out)
        write_text(out / "command.txt", command_line() + "\n")
    optimizer = config.method.optimizer(learner)
    if optimizer is None:
        save_parameters(out / BEST, learner, {"step": 0})
        return None
    return train(
        learner,
        optimizer,
        tasks,
        config.training,
        out,
        validate=_validation(tasks, config.training),
        resume=resume,
        fingerprint=config.fingerprint,
    )


def _parse(name: str, arguments: list[str]) -> tuple[RunConfig, Path, bool]:
    method = get_method(name)
    parser = Parser(f"train {name}", f"Meta-train {name}. {method.paper}.")
    parser.add_argument("--config", action="config")
    parser.add_argument("--method", type=str, default=name, help="the method's name, as in config.yaml")
    parser.add_argument(
        "--out", type=Path, help="the run's directory; made if missing (default: runs/METHOD)"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    for cls in (TaskOptions, Training, method):
        parser.add_dataclass(cls)
    if "--resume" in arguments and "--config" not in arguments:
        arguments = [*_config_of(arguments), *arguments]
    values = parser.read(arguments)
    if values.method != name:
        raise FphiError(
            f"the configuration is of method {values.method!r}, not {name!r}: fphi train {values.method}"
        )
    config = RunConfig(
        name, fields_of(method, values), fields_of(TaskOptions, values), fields_of(Training, values)
    )
    return config, values.out or Path("runs") / name, values.resume


def _config_of(arguments: list[str]) -> list[str]:
    """A resumed run goes on as it was configured, but for what the command line says now."""
    if "--out" not in arguments[:-1]:
        return []
    path = Path(arguments[arguments.index("--out") + 1]) / CONFIG
    return ["--config", str(path)] if path.is_file() else []


def _require_same_method(out: Path, config: RunConfig) -> None:
    begun = RunConfig.read(out)
    if begun.name != config.name:
        raise FphiError(
            f"{out} is a run of {begun.name}, not {config.name}: fphi train {begun.name} --resume"
        )


def _validation(tasks: TaskDistribution, training: Training) -> Validate | None:
    """Accuracy and loss on development tasks; None where the protocol has none."""
    if "validation" not in tasks.splits:
        return None

    def validate(learner: LearningAlgorithm) -> tuple[float | None, float]:
        calibrate_on(learner, tasks)
        result = evaluate(
            learner, tasks, split="validation", count=training.validation_tasks, inductive=False
        )
        return (result.accuracy if len(result.transductive) else None), result.loss

    return validate


def _conclude(result: TrainingResult, out: Path) -> int:
    if result.interrupted:
        print(f"stopped at step {result.step}; go on with: {_resume_command(out)}", file=sys.stderr)
        return 130
    reached = (
        ""
        if result.validation_accuracy is None
        else f", validation accuracy {result.validation_accuracy:.4f}"
    )
    early = " (no more improvement)" if result.stopped_early else ""
    print(f"trained {result.step} meta-steps in {result.seconds:.0f} s{early}{reached}; fphi evaluate {out}")
    return 0


def _resume_command(out: Path) -> str:
    return f"fphi train {RunConfig.read(out).name} --out {out} --resume"


def _usage() -> str:
    names = "\n".join(f"  {name:<14}{cls.paper}" for name, cls in sorted(METHODS.items()))
    end = "fphi train METHOD --help lists a method's options."
    return f"usage: fphi train METHOD [options]\n\nmethods:\n{names}\n\n{end}"
