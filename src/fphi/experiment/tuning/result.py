"""What came out of a tuning: the trials, what mattered, and the command that trains the best."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fphi.experiment.config import Config
from fphi.experiment.parser import flag
from fphi.experiment.tuning.dimensions import Dimension, Value, written
from fphi.report.tables import Table, percent
from fphi.tasks import GIVEN
from fphi.tasks.options import TaskOptions

__all__ = ["Record", "Tuned", "changed_options", "train_command"]

_SHOWN = 10


@dataclass(frozen=True)
class Record:
    """One trial.

    Args:
        number: from 0 on; its run is ``trials/NUMBER``.
        state: "complete", "pruned" (it was behind), "failed" (its training was refused or diverged), or
            "running" (it was stopped, and is gone on with).
        values: of the options that are varied.
        accuracy: on development tasks, a fraction: of a whole trial its best, else the last.
        loss: theirs.
        step: of the last validation; None: there was none.
        reason: why it failed.
    """

    number: int
    state: str
    values: Mapping[str, Value]
    accuracy: float | None
    loss: float | None
    step: int | None
    reason: str | None

    def badness(self, by_accuracy: bool) -> tuple[float, float]:
        """The smaller the better: of equal accuracies the lower loss."""
        loss = float("inf") if self.loss is None else self.loss
        return (-self.accuracy if by_accuracy and self.accuracy is not None else 0.0), loss


@dataclass(frozen=True)
class Tuned:
    """How a tuning ended.

    Args:
        method: as it was named.
        by: what is best: the highest "accuracy" or the lowest "loss" on development tasks.
        space: what was varied.
        trials: in their order.
        importance: how much of the differences between whole trials each option explains, the most first;
            empty: there were too few.
        options: of `fphi.train`, as the best trial had them, where they are not the usual ones; None: no
            trial came to its end.
        command: that trains the best again; None: there is none, or its tasks were given in Python.
        interrupted: a signal ended it; it can be resumed.
    """

    method: str
    by: str
    space: tuple[Dimension, ...]
    trials: tuple[Record, ...]
    importance: Mapping[str, float]
    options: Mapping[str, Any] | None
    command: str | None
    interrupted: bool

    @property
    def best(self) -> Record | None:
        """Of the trials that came to their end."""
        return next((trial for trial in self.ranking if trial.state == "complete"), None)

    @property
    def ended(self) -> list[Record]:
        """The trials that are over, one way or another."""
        return [trial for trial in self.trials if trial.state != "running"]

    @property
    def ranking(self) -> list[Record]:
        """The whole trials, the best first; then those that were pruned, failed or stopped."""
        order = ("complete", "pruned", "running", "failed")

        def key(trial: Record) -> tuple[object, ...]:
            reached = 0 if trial.state == "complete" else -(trial.step or 0)
            return order.index(trial.state), reached, trial.badness(self.by == "accuracy"), trial.number

        return sorted(self.trials, key=key)

    def to_json(self) -> str:
        """One JSON object in one line."""
        best = None if self.best is None else self.best.number
        content: dict[str, Any] = {
            "method": self.method,
            "by": self.by,
            "space": {dimension.name: dimension.text for dimension in self.space},
            "best": best,
            "options": self.options,
            "command": self.command,
            "importance": dict(self.importance),
            "trials": [asdict(trial) for trial in self.trials],
        }
        return json.dumps(content, allow_nan=False)

    def trials_table(self) -> Table:
        """The best trials, a line each."""
        body = []
        for trial in self.ranking[:_SHOWN]:
            accuracy = "" if trial.accuracy is None else percent(trial.accuracy)
            loss = "" if trial.loss is None else f"{trial.loss:.4g}"
            ended = f"{trial.state} at {trial.step}" if trial.state == "pruned" else trial.state
            values = ", ".join(f"{name} {written(value)}" for name, value in trial.values.items())
            body.append((str(trial.number), accuracy, loss, ended, values))
        return Table(("Trial", "Accuracy", "Loss", "State", "Options"), tuple(body)).without_empty_columns()

    def options_table(self) -> Table:
        """The options, the most important first."""
        best = {} if self.best is None else self.best.values
        names = {dimension.name: dimension for dimension in self.space}
        body = []
        for name in [*self.importance, *(name for name in names if name not in self.importance)]:
            share = f"{100 * self.importance[name]:.0f} %" if name in self.importance else ""
            value = written(best[name]) if name in best else ""
            body.append((name, names[name].text.replace(",", ", "), value, share))
        return Table(("Option", "Values", "Best", "Importance"), tuple(body)).without_empty_columns()


def changed_options(config: Config) -> dict[str, Any]:
    """The options of a few-shot configuration that are not as they are where nobody gives them."""
    usual = config.schema.parser("train", config.part(TaskOptions).tasks).get_defaults().as_dict()
    values = config.to_dict()
    return {key: value for key, value in values.items() if key != "method" and value != usual.get(key)}


def train_command(config: Config, out: Path) -> str | None:
    """The command that trains a configuration into a folder; None: its tasks cannot be named."""
    if config.part(TaskOptions).tasks == GIVEN:
        return None
    given = changed_options(config).items()
    options = [word for key, value in given for word in (flag(key), written(value))]
    return shlex.join(["fphi", "train", config.name, *options, "--out", str(out)])
