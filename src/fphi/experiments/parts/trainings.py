"""The trainings of an experiment: run folders, made once, gone on with, and tested."""

import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fphi.experiment.config import FROM_FILES
from fphi.experiment.evaluation import EvaluationOptions, RunEvaluation, evaluate_run
from fphi.experiment.loading import load, noted_setting, trained_run
from fphi.experiment.plugins import is_in_file
from fphi.experiment.training import train
from fphi.experiments.parts.scale import Scale
from fphi.report.runs import read_log
from fphi.run.disk.checkpoint import BEST, LAST
from fphi.run.meta.training import TrainingResult
from fphi.run.show.say import say
from fphi.tasks.options import TaskOptions
from fphi.within.randomness import undisturbed

__all__ = ["Kind", "Planned", "StoppedError", "Trained", "TrainedRun", "options_given", "train_planned"]

FOLDER = "trainings"  # below that of the experiments
_ELSEWHERE = "data_root"  # says where data are, not which
_VALIDATED = 100  # tasks, at most


class StoppedError(Exception):
    """SIGTERM or Ctrl-C asked for an end; the message says how far the experiment is."""


@dataclass(frozen=True)
class Planned:
    """A training that an experiment asks for.

    Args:
        method: its name.
        steps: meta-steps where nobody says otherwise.
        options: of the method, the training and the tasks, as `fphi.train` takes them.
        validations: in the course of the training, however long it is; None: as these options say.
        tasks_each: tasks of a meta-step for each of those that the user asks for.
    """

    method: str
    steps: int
    options: Mapping[str, Any] = field(default_factory=dict)
    validations: int | None = None
    tasks_each: int = 1


@dataclass(frozen=True)
class TrainedRun:
    """One training that has ended.

    Args:
        folder: of the run.
        method: its name.
        options: that it was trained with.
        test_tasks: tasks of a test.
    """

    folder: Path
    method: str
    options: Mapping[str, Any]
    test_tasks: int

    @property
    def seed(self) -> int:
        """Of the training."""
        return int(self.options["seed"])

    @property
    def files(self) -> dict[str, str]:
        """What of it is in files of Python, by option: whoever asked for the experiment has named these."""
        named = {"method": self.method, **self.options}
        return {key: named[key] for key in FROM_FILES if is_in_file(named.get(key))}

    @property
    def command(self) -> str:
        """The command line that trains the same."""
        words = ["fphi", "train", self.method, "--out", str(self.folder)]
        for name, value in self.options.items():
            if value is not None:
                shown = str(value).lower() if isinstance(value, bool) else str(value)
                words += [f"--{name.replace('_', '-')}", shown]
        return shlex.join(words)

    def test(
        self, *, steps: int | None = None, split: str = "test", alone: bool = False, **other: Any
    ) -> RunEvaluation:
        """Test it on new tasks.

        Args:
            steps: inner steps that the answers by step go up to.
            split: of the tasks; of "validation" there are fewer.
            alone: whether the accuracy is wanted whose answers do not depend on other queries.
            other: options of the tasks or the method in place of the run's own.
        """
        # Training tasks of another seed: those of this one were trained on, each with all its queries.
        seed = self.seed + 1_000_003 if split == "train" else 0
        tasks = min(_VALIDATED, self.test_tasks) if split == "validation" else self.test_tasks
        options = EvaluationOptions(
            tasks, seed, split, steps, inductive=alone, other=other or None, allowed=self.files
        )
        return evaluate_run(self.folder, options)

    def learner(self) -> nn.Module:
        """What it has learned, in evaluation mode."""
        return load(self.folder, method=self.files.get("method"), network=self.files.get("network"))

    def untrained(self) -> nn.Module:
        """The like of it that has learned nothing, as its training began, in evaluation mode."""
        with undisturbed():
            run = trained_run(self.folder, self.files)
            return run.learner(run.with_network(noted_setting(self.folder, run))).eval()

    def curve(self, column: str) -> tuple[list[int], list[float]]:
        """Meta-steps and values of a column of its log, where it has them."""
        filled = [row for row in read_log(self.folder / "log.csv") if row.get(column)]
        return [int(row["step"]) for row in filled], [float(row[column]) for row in filled]


class Kind(Sequence[TrainedRun]):
    """The trainings of one kind, which differ by their seed."""

    def __init__(self, runs: Sequence[TrainedRun]) -> None:
        self.runs = tuple(runs)

    def __getitem__(self, index: Any) -> Any:
        return self.runs[index]

    def __len__(self) -> int:
        return len(self.runs)

    def __iter__(self) -> Iterator[TrainedRun]:
        return iter(self.runs)

    def tests(self, **options: Any) -> list[RunEvaluation]:
        """A test of each, see `TrainedRun.test`."""
        return [run.test(**options) for run in self.runs]

    def scores(self, **options: Any) -> list[Mapping[str, Tensor]]:
        """Of each test the values by task ``[n]``, by name."""
        return [test.scores for test in self.tests(**options)]


class Trained:
    """All trainings of an experiment.

    Args:
        kinds: by the names that the experiment gave them.
        tasks: which tasks, where they are the user's to choose.
        test_tasks: tasks of a test.
    """

    def __init__(self, kinds: Mapping[str, Kind], tasks: TaskOptions, test_tasks: int) -> None:
        self.kinds, self.tasks, self.test_tasks = kinds, tasks, test_tasks

    def __getitem__(self, name: str) -> Kind:
        return self.kinds[name]

    def record(self, out: Path) -> list[dict[str, Any]]:
        """What a reader needs to find and to repeat each of them; folders are below ``out``."""
        return [
            {
                "name": name,
                "method": run.method,
                "seed": run.seed,
                "run": run.folder.relative_to(out).as_posix(),
                "command": run.command,
            }
            for name, kind in self.kinds.items()
            for run in kind
        ]


def train_planned(
    plan: Mapping[str, Planned],
    out: Path,
    scale: Scale,
    tasks: TaskOptions,
    own: Mapping[str, Any],
    progress: bool,
) -> Trained:
    """Train what is planned and was not trained yet.

    A training lies in ``trainings/NAME-DIGEST``, the digest of all its options: other options are another
    folder, and experiments in one folder share what they have in common.

    Args:
        plan: the trainings by name.
        out: the folder of the experiments.
        scale: how long, with which seeds, and how many test tasks, none of which is left open.
        tasks: which tasks.
        own: the options of the tasks that each training is given.
        progress: whether to show how far it is.

    Raises:
        StoppedError: a signal asked for an end.
        fphi.FphiError: see `fphi.train`.
    """
    kinds, tested = {}, scale.test_tasks or 1
    for place, (name, planned) in enumerate(plan.items()):
        runs = []
        for seed in range(scale.seed, scale.seed + (scale.seeds or 1)):
            options = _options(planned, scale, seed, own)
            run = TrainedRun(_folder(out, name, planned, options), planned.method, options, tested)
            said = f"{name}, seed {seed} ({place + 1} of {len(plan)})"
            _train(run, said, progress)
            runs.append(run)
        kinds[name] = Kind(runs)
    return Trained(kinds, tasks, tested)


def _options(planned: Planned, scale: Scale, seed: int, own: Mapping[str, Any]) -> dict[str, Any]:
    batch = {} if scale.meta_batch is None else {"meta_batch": planned.tasks_each * scale.meta_batch}
    steps = planned.steps if scale.steps is None else scale.steps
    validated = min(_VALIDATED, scale.test_tasks or 1)
    often = {"validate_every": max(1, steps // planned.validations)} if planned.validations else {}
    return {
        **own,
        "validation_tasks": validated,
        **planned.options,
        **often,
        **batch,
        "steps": steps,
        "seed": seed,
    }


def _folder(out: Path, name: str, planned: Planned, options: Mapping[str, Any]) -> Path:
    decisive = {key: value for key, value in options.items() if key != _ELSEWHERE}
    text = json.dumps([planned.method, decisive], sort_keys=True, default=str)
    plain = "".join(c if c.isalnum() or c in "+-" else "-" for c in name).strip("-")
    return out / FOLDER / f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _train(run: TrainedRun, said: str, progress: bool) -> None:
    """Train it, or go on with it, or leave it as it is."""
    begun = (run.folder / LAST).is_file()
    if not begun and (run.folder / BEST).is_file():  # of a method that learns nothing across tasks
        return
    if progress:
        say(said)
    result = train(run.method, out=run.folder, resume=begun, progress=progress, **run.options)
    if isinstance(result, TrainingResult) and result.interrupted:
        raise StoppedError(f"at step {result.step} of {said}")


def options_given(tasks: TaskOptions) -> dict[str, Any]:
    """The options of tasks that a training is given: all that are not the usual ones."""
    usual = asdict(TaskOptions())
    return {key: value for key, value in asdict(tasks).items() if value != usual[key]}
