"""Whether a training was worth it: its result beside an untrained learner's, and a constant answer's."""

from pathlib import Path

from fphi.experiment.classes import read_division
from fphi.experiment.config import Config
from fphi.experiment.setup import FewShotRun
from fphi.methods.base import FewShotMethod
from fphi.run.meta.evaluate import evaluate
from fphi.run.meta.training import TrainingResult
from fphi.tasks import TaskDistribution

__all__ = ["constant_loss", "verdict"]


def verdict(config: Config, result: TrainingResult, out: Path) -> list[str]:
    """What a user should know of a training's result, a line each; nothing where all is well.

    Args:
        config: of the run.
        result: how it ended.
        out: its folder.
    """
    assert isinstance(config.method, FewShotMethod)
    run = FewShotRun(config, division=read_division(out))
    lines: list[str] = []
    if result.validation_loss is None:
        return lines
    tasks = run.tasks(run.training.seed, ["train", "validation"])
    count = run.training.validation_tasks
    if tasks.ways is None:
        constant = constant_loss(tasks, count)
        if result.validation_loss >= constant:
            lines.append(
                f"no better than a constant answer, whose loss is {constant:.4f}: try a smaller inner or "
                "outer learning rate, or more steps"
            )
        return lines
    untrained = evaluate(
        run.learner(run.setting(tasks)), tasks, split="validation", count=count, inductive=False
    )
    if result.validation_accuracy is not None and result.validation_accuracy <= untrained.accuracy:
        lines.append(
            f"no better than an untrained learner, whose accuracy is {untrained.accuracy:.4f}: try more "
            "steps or another learning rate"
        )
    return lines


def constant_loss(tasks: TaskDistribution, count: int) -> float:
    """The mean squared error if all queries of validation tasks are answered with their mean."""
    y = tasks.drawn("validation", range(count)).query.y
    return float((y - y.mean()).square().mean())
