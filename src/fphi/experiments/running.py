"""Run an experiment: train what is not trained yet, measure, and write a picture and a JSON."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from fphi.errors import FphiError
from fphi.experiment.parser import Parser, fields_of
from fphi.experiment.setup import tasks_named
from fphi.experiment.versions import versions
from fphi.experiments.base import Experiment
from fphi.experiments.parts.scale import Scale
from fphi.experiments.parts.trainings import options_given, train_planned
from fphi.experiments.table import get_experiment
from fphi.ranges import checked
from fphi.run.disk.files import replace_file, write_text
from fphi.run.disk.finite import only_finite
from fphi.tasks.options import TaskOptions

__all__ = ["OUT", "Asked", "run"]

OUT = Path("runs") / "experiments"


@dataclass(frozen=True)
class Asked:
    """An experiment with all its options.

    Args:
        experiment: with its own.
        scale: how much is computed.
        tasks: which tasks.
    """

    experiment: Experiment
    scale: Scale
    tasks: TaskOptions

    @staticmethod
    def parser(name: str) -> Parser:
        """The flags of an experiment.

        Raises:
            FphiError: there is none of that name.
        """
        cls = get_experiment(name)
        parser = Parser(f"experiment {name}", f"{cls.about[:1].upper()}{cls.about[1:]}.")
        for part in cls, Scale, *([] if cls.tasks is None else [TaskOptions]):
            parser.add_dataclass(part)
        parser.set_defaults(dict(cls.tasks or {}))
        return parser

    @classmethod
    def of(cls, name: str, values: Mapping[str, Any]) -> Self:
        """From values by name, as the parser gives them."""
        kind = get_experiment(name)
        tasks = TaskOptions() if kind.tasks is None else fields_of(TaskOptions, values).located()
        return cls(fields_of(kind, values), fields_of(Scale, values), tasks)

    def run(self, out: Path, progress: bool = False) -> dict[str, Any]:
        """Train what is not trained yet, measure, and write ``NAME.png`` and ``NAME.json``.

        Raises:
            StoppedError: a signal asked for an end; the same call goes on.
            FphiError: an option does not fit, or a file cannot be written.
        """
        title, scale = self.experiment.title, self.scale
        if self.experiment.tasks is not None:
            _require_classes(self.tasks)
        seeds = scale.seeds or self.experiment.usual_seeds
        tests = scale.test_tasks or self.experiment.usual_test_tasks
        scale = replace(scale, seeds=seeds, test_tasks=tests)
        plan, own = self.experiment.trainings(self.tasks), options_given(self.tasks)
        trained = train_planned(plan, out, scale, self.tasks, own, progress)
        measured = self.experiment.measure(trained)
        record: dict[str, Any] = only_finite(
            {
                "experiment": title,
                "about": self.experiment.about,
                "options": {**asdict(self.experiment), **asdict(scale), **own},
                "trainings": trained.record(out),
                "measured": dict(measured.values),
                "findings": list(measured.findings),
                "picture": f"{title}.png",
                "versions": versions(),
            }
        )
        replace_file(out / record["picture"], measured.picture)
        write_text(out / f"{title}.json", json.dumps(record, indent=1, allow_nan=False) + "\n")
        return record


def _require_classes(tasks: TaskOptions) -> None:
    """Raise if tasks that the user chose are regressions, whose answers have no accuracy."""
    if tasks_named(tasks, splits=["test"]).ways is None:
        raise FphiError(
            f"--tasks {tasks.tasks} is regression, and this experiment needs classes: choose hershey, "
            "omniglot, or a folder of images"
        )


@checked()
def run(name: str, *, out: Path | str = OUT, progress: bool = False, **options: Any) -> dict[str, Any]:
    """Run an experiment, as ``fphi experiment NAME`` does.

    What was trained before in the same folder with the same options is not trained again, and a training
    that was stopped goes on.

    Args:
        name: of the experiment.
        out: the folder: gets ``NAME.png``, ``NAME.json``, and the run folder of each training.
        progress: whether to show how far it is on stderr.
        options: of the command line, with underscores.

    Returns:
        The content of ``NAME.json``.

    Raises:
        FphiError: an option does not exist or does not fit, or a training fails.
        StoppedError: SIGTERM or Ctrl-C asked for an end.
    """
    asked = Asked.of(name, Asked.parser(name).check(options))
    return asked.run(Path(out), progress)
