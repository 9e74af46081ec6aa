"""Across-task training as a run: tasks, learner and optimizer of a configuration, into its folder."""

import functools
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.experiment.classes import CLASSES, classes_of, classes_text
from fphi.experiment.config import CONFIG, written_fingerprint
from fphi.experiment.extending import COMMAND, command_again, extend, is_extended
from fphi.experiment.parser import flag
from fphi.experiment.setup import FewShotRun
from fphi.experiment.sizes import asked_sizes, require_own_sizes
from fphi.experiment.start import require_fair_start
from fphi.learnable import LearningAlgorithm
from fphi.learnable.explaining import plain
from fphi.methods.base import FewShotMethod, Setting
from fphi.report.files import read_text
from fphi.report.plots import learning_curve
from fphi.report.runs import read_log
from fphi.run.disk.checkpoint import BEST, load_shared_parameters, save_parameters
from fphi.run.disk.directory import require_usable
from fphi.run.disk.files import Json, write_text
from fphi.run.disk.finite import require_finite
from fphi.run.meta.evaluate import calibrate_on, device_of, evaluate
from fphi.run.meta.logs import MetricsLogger
from fphi.run.meta.loop import train
from fphi.run.meta.training import Training, TrainingResult, Validate, threads_of
from fphi.run.show.say import say
from fphi.tasks import NAMED, Minibatches, TaskDistribution
from fphi.tasks.minibatches import PooledTasks

__all__ = ["require_no_other_config", "setting_note", "train_few_shot"]

_POLICY = "training_images.json"
"""What is done to training images, where a file said it when the run began."""


def train_few_shot(
    run: FewShotRun,
    out: Path,
    *,
    resume: bool,
    command: str | None,
    progress: bool = True,
    loggers: Sequence[MetricsLogger] = (),
) -> TrainingResult | None:
    """Train as configured into ``out``; None for a method that learns nothing across tasks.

    Args:
        run: the configuration.
        out: the folder.
        resume: go on with the run there; more steps than it had may be asked for when these are done.
        command: that was typed, for the records; None: one that does the same.
        progress: whether to show a progress line and notes on stderr.
        loggers: told of each row of the log.

    Raises:
        FphiError: an option does not fit, the folder is taken, or the training fails.
    """
    require_usable(out, resume)
    texts = {CONFIG: run.config.to_yaml(out), COMMAND: (command or command_again(out)) + "\n"}
    if not resume:
        require_no_other_config(out, texts[CONFIG])
    tasks = run.tasks(run.training.seed)
    if progress:
        for note in tasks.notes:
            say(note)
    if not resume:
        require_own_sizes(asked_sizes(run.options), run.options, tasks, tasks.splits[-1])
        require_fair_start(run, tasks)
        _require_views(run, tasks)
    if run.given is None and run.options.tasks not in NAMED and (classes := classes_of(tasks)):
        texts[CLASSES] = classes_text(classes)
    if (policy := run.policy_text()) is not None:
        texts[_POLICY] = policy
        _require_same_policy(out, policy, resume)
    setting = run.setting(tasks)
    for note in _idle_notes(run.method, setting) if progress and not resume else ():
        say(note)
    learner = run.learner(setting)
    optimizer = run.optimizer(learner)
    if not resume and run.training.weights is not None:
        _load_weights(learner, Path(run.training.weights))
    if optimizer is None:
        if run.training.augmentation is not None:
            raise FphiError(
                f"{run.config.name} trains on no task, so there is nothing for --augmentation "
                f"{run.training.augmentation} to change; leave it out"
            )
        _keep_start(run, learner, tasks, out, texts)
        return None
    goes_on_as_it_was = resume and not is_extended(run.config, out)
    return train(
        learner,
        optimizer,
        tasks,
        run.training,
        out,
        validate=_validation(tasks, run.training),
        resume=resume,
        progress=progress,
        fingerprint=written_fingerprint(out) if goes_on_as_it_was else run.config.fingerprint(out),
        texts=texts,
        note={**setting_note(setting), **_given_note(run), "threads": threads_of(run.training)},
        on_resume=lambda: extend(run.config, out, command),
        loggers=loggers,
        options=run.config.to_dict(),
        pictures=lambda folder: {
            "learning_curve": learning_curve({run.config.name: read_log(folder / "log.csv")})
        },
    )


def _idle_notes(method: FewShotMethod, setting: Setting) -> list[str]:
    """A line about each option that somebody gave, and that changes nothing."""
    usual = {field.name: field.default for field in fields(method)}
    idle = sorted({name for name in method.idle(setting) if getattr(method, name, None) != usual.get(name)})
    own = (
        "--norm changes nothing: a network of a file has its own norm layers, and torch's batch norms take "
        "the statistics of all queries at once; leave it out"
    )
    other = "{} changes nothing as the other options and the tasks are; leave it out, or change them"
    return [own if name == "norm" and setting.network else other.format(flag(name)) for name in idle]


def _require_views(run: FewShotRun, tasks: TaskDistribution) -> None:
    """Raise if the method learns from two views of each image, and these tasks are no such minibatches."""
    wanted = run.method.train_tasks(run.options.ways, run.options.shots)
    from_views = isinstance(wanted, Minibatches) and wanted.views is not None
    if from_views and tasks.ways is not None and not isinstance(tasks, PooledTasks):
        raise FphiError(
            f"{run.config.name} needs two views of each image, which these tasks do not make: give images, "
            "as --tasks hershey or a folder, or choose multi-task"
        )


def _require_same_policy(out: Path, policy: str, resume: bool) -> None:
    """Raise if the policy of a run that goes on is another than it began with."""
    if resume and (out / _POLICY).is_file() and read_text(out / _POLICY) != policy:
        raise FphiError(
            f"what --augmentation names has changed since {out} began, whose policy is in its {_POLICY}; "
            "restore it, or train anew in another folder"
        )


def setting_note(setting: Setting) -> dict[str, Json]:
    """What a learner is built for, kept with its parameters: it can be built again without its data."""
    shape: list[Json] = list(setting.input_shape)
    noted: dict[str, Json] = {"ways": setting.ways, "shots": setting.shots, "input_shape": shape}
    if setting.classes is not None:
        noted["classes"] = setting.classes
    if setting.dtype is not torch.float32:
        noted["dtype"] = plain(setting.dtype)
    if setting.numbers != 1:
        noted["numbers"] = setting.numbers
    return {"setting": noted}


def _given_note(run: FewShotRun) -> dict[str, Json]:
    """By what tasks that were given are known again."""
    return {} if run.given is None else {"protocol": run.given.protocol}


def _keep_start(
    run: FewShotRun, learner: LearningAlgorithm, tasks: TaskDistribution, out: Path, texts: dict[str, str]
) -> None:
    """The run of a method that learns nothing across tasks: its start is all that there is."""
    if run.training.start_from is not None:
        load_shared_parameters(Path(run.training.start_from) / BEST, learner)
    calibrate_on(learner, tasks)
    for file, text in texts.items():
        write_text(out / file, text)
    noted = setting_note(run.setting(tasks))
    note: dict[str, Json] = {"step": 0, "fingerprint": run.config.fingerprint(out), **noted}
    note |= _given_note(run)
    save_parameters(out / BEST, learner, note)


def require_no_other_config(out: Path, text: str) -> None:
    """A file of that name may be all that is left of something else."""
    path = out / CONFIG
    if path.exists() and read_text(path) != text:
        raise FphiError(f"{out} already holds another {CONFIG}; choose another folder")


def _load_weights(learner: LearningAlgorithm, path: Path) -> None:
    """Give the learner's network the parameters of a file: safetensors, or a state_dict that torch saved."""
    network = getattr(learner, "network", None)
    if not isinstance(network, nn.Module):
        raise FphiError(f"--weights {path} are for a network, and this learner has none of that name")
    state = _read_state(path)
    own = network.state_dict()
    fitting = {name: t for name, t in state.items() if name in own and own[name].shape == t.shape}
    if not fitting:
        raise FphiError(
            f"--weights {path} have no tensor whose name and shape are one of the network's "
            f"({', '.join(list(own)[:3])}, …); give the state_dict of this network"
        )
    require_finite(fitting, f"--weights {path}", network)
    network.load_state_dict(fitting, strict=False)
    say(f"begins with {len(fitting)} of {len(own)} tensors of the network as in {path}")


def _read_state(path: Path) -> dict[str, Tensor]:
    import torch

    if not path.is_file():
        raise FphiError(f"--weights {path} is no file; check the path")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise FphiError(f"--weights {path} cannot be read ({reason}); give a state_dict") from error
    except Exception as error:  # what torch's safe unpickler refuses has no class of its own
        raise FphiError(f"--weights {path} holds more than tensors ({type(error).__name__})") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise FphiError(f"--weights {path} is no state_dict, tensors by name; save network.state_dict()")
    return state


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
            threads=training.threads,
        )
        return (result.accuracy if len(result.transductive) else None), result.loss

    return validate
