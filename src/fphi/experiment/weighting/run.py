"""A run with learned weights: one network on one large task, and the same without weights beside it."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from fphi.experiment.config import CONFIG, Config, written_fingerprint
from fphi.experiment.levels import levels_json, levels_of
from fphi.experiment.search.options import DataOptions, NetworkOptions
from fphi.experiment.search.steps import StoppedError
from fphi.experiment.weighting.options import BesideOptions, ExampleOptions
from fphi.experiment.weighting.result import LOG, RESULT, log_of, result_of, write_pictures, write_tables
from fphi.experiment.weighting.standing import Row, Standing, read_standing, save_standing
from fphi.experiment.weighting.trainings import Trainings
from fphi.methods.families.weighting import WeightingMethod
from fphi.report.files import read_text
from fphi.report.weighting import read_weighting
from fphi.run.disk.checkpoint import BEST, LAST, save_parameters
from fphi.run.disk.directory import claim, require_usable
from fphi.run.disk.files import write_text
from fphi.run.disk.interrupt import interrupts
from fphi.run.show.say import say
from fphi.run.show.search_progress import epoch_line
from fphi.within.training import NetworkTraining

__all__ = ["run_weighting"]

_COMMAND = "command.txt"
_HELD = (CONFIG, LOG, RESULT, BEST, LAST)


def run_weighting(
    config: Config, out: Path, *, resume: bool, command: str, progress: bool = True
) -> dict[str, Any]:
    """Train as configured into ``out``; the content of ``result.json``.

    Args:
        config: of a method that learns weights.
        out: the folder.
        resume: go on with the run there.
        command: that does this again, for the records.
        progress: whether to show a progress line for each training.

    Raises:
        StoppedError: SIGTERM or Ctrl-C asked for an end; the run can be resumed.
        FphiError: an option does not fit, the folder is taken, or a training diverges.
    """
    require_usable(out, resume, _HELD)
    trainings = _trainings(config)
    for note in trainings.task.data.notes:
        say(note)
    with claim(out, resume, _HELD, begun=(out / LAST).is_file):
        if resume and (out / RESULT).is_file():
            return read_weighting(out / RESULT)
        if not resume:
            write_text(out / _COMMAND, command + "\n")
            write_text(out / CONFIG, config.to_yaml(out))  # from now on it can be resumed
        standing = _train(trainings, out, progress)
        kept = read_text(out / _COMMAND).strip() if (out / _COMMAND).is_file() else command
        return _conclude(trainings, standing, config, out, kept)


def _trainings(config: Config) -> Trainings:
    part, examples = config.part, config.part(ExampleOptions)
    method = config.method
    assert isinstance(method, WeightingMethod)
    task = examples.load(part(DataOptions))
    network = part(NetworkOptions)
    made = Trainings(task, method, network, part(NetworkTraining), part(BesideOptions), examples.seed)
    made.require_fitting()
    return made


def _train(trainings: Trainings, out: Path, progress: bool) -> Standing:
    """Go on to the end, with a checkpoint after each epoch."""
    fingerprint = f"{written_fingerprint(out)} {trainings.task.digest()}"
    standing = read_standing(out / LAST, fingerprint) if (out / LAST).is_file() else Standing()
    with interrupts() as interrupt:
        while (name := trainings.next(standing)) is not None:
            with ExitStack() as stack:
                show = stack.enter_context(epoch_line(name)) if progress else _silent
                while trainings.next(standing) == name:
                    row = trainings.epoch(standing)
                    save_standing(out / LAST, standing, fingerprint)
                    write_text(out / LOG, log_of(standing.rows))
                    show(_shown(row), trainings.training.epochs)
                    if interrupt.requested:
                        total = trainings.training.epochs
                        raise StoppedError(f"after {row['epoch']} of {total} epochs of the training {name!r}")
    return standing


def _conclude(
    trainings: Trainings, standing: Standing, config: Config, out: Path, command: str
) -> dict[str, Any]:
    data = trainings.task.data
    setting: Any = {"input_shape": list(data.input_shape), "classes": data.classes}
    setting |= levels_json(levels_of(data.levels))
    note: Any = {"method": config.name, "setting": setting, "fingerprint": written_fingerprint(out)}
    save_parameters(out / BEST, trainings.module(standing), note)
    write_text(out / LOG, log_of(standing.rows))
    write_tables(trainings, standing, out)
    write_pictures(trainings, standing, out)
    result = result_of(trainings, standing, config, command)
    write_text(out / RESULT, json.dumps(result, indent=2) + "\n")
    return result


def _shown(row: Row) -> dict[str, float]:
    return {name: value for name, value in row.items() if name not in ("training", "seconds")}


def _silent(row: dict[str, float], epochs: int) -> None:
    """Show nothing."""
