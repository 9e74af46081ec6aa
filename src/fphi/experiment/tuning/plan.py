"""What a tuning is to do: the training that all trials share, what is varied, and how many there are."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fphi.errors import FphiError
from fphi.experiment.config import Config
from fphi.experiment.parser import Parser
from fphi.experiment.prepare import Prepared
from fphi.experiment.setup import FewShotRun
from fphi.experiment.tuning.dimensions import Dimension, Values
from fphi.experiment.tuning.space import require_effect, space_of
from fphi.methods.base import Setting
from fphi.methods.families.networks import current
from fphi.ranges import count
from fphi.report.files import read_text
from fphi.run.disk.files import parse_json
from fphi.run.meta.training import Training
from fphi.tasks import TaskDistribution

__all__ = ["PLAN", "Plan", "TuneOptions", "plan_of"]

PLAN = "vary.json"
_NOTHING: dict[str, Any] = {"vary": {}, "trials": 20, "prune_after": 4}


@dataclass(frozen=True)
class TuneOptions:
    """How a tuning goes.

    Args:
        trials: trainings, those that are pruned or fail among them; null: 20, or with --resume as before.
            Each is validated after every tenth of its steps where --validate-every is 0.
        prune_after: whole trainings before the first may be pruned. It is after a validation, from a fifth of
            the steps on, if its best so far is worse than the median of the others at that step. null: 4, or
            with --resume as before.
    """

    trials: int | None = count(None, 100_000)
    prune_after: int | None = count(None, least=0)


@dataclass(frozen=True)
class Plan:
    """All that the trials of a tuning share.

    Args:
        config: what every trial has, where it is not varied.
        parser: of its options.
        setting: of the tasks.
        space: what is varied.
        trials: how many there are to be.
        prune_after: whole trials before the first may be pruned.
        given: tasks in place of those that the configuration names.
    """

    config: Config
    parser: Parser
    setting: Setting
    space: tuple[Dimension, ...]
    trials: int
    prune_after: int
    given: TaskDistribution | None

    @property
    def by_accuracy(self) -> bool:
        """Whether the accuracy counts, else the loss."""
        return self.config.part(Training).best_by == "accuracy" and self.setting.ways is not None

    @property
    def usual(self) -> Values:
        """The values that the method has anyway, as far as they are among those that are tried."""
        own, method = self.config.to_dict(), FewShotRun(self.config).method
        found: Values = {
            one.name: current(method, one.name, self.setting) if hasattr(method, one.name) else own[one.name]
            for one in self.space
        }
        return {one.name: found[one.name] for one in self.space if one.holds(found[one.name])}

    def same(self, values: Values) -> tuple[object, ...]:
        """What is equal for values that train the same: without what has no effect beside the others."""
        method = FewShotRun(self.config).method
        own = {name: value for name, value in values.items() if hasattr(method, name)}
        try:
            method = replace(method, **own)
        except FphiError:  # which fails, and fails again
            return tuple(values.items())
        idle = method.idle(self.setting)
        return tuple(
            (name, current(method, name, self.setting) if name in own else value)
            for name, value in values.items()
            if name not in idle
        )

    def config_of(self, values: Values) -> Config:
        """The training with these values.

        Raises:
            FphiError: one is out of its range, or they do not fit together.
        """
        config = Config.of(self.config.schema, self.parser.check(self.config.to_dict() | dict(values)))
        training = config.part(Training)
        if training.validate_every:
            return config
        return config.having(replace(training, validate_every=max(1, training.steps // 10)))

    def text(self) -> str:
        """What the plan's file holds."""
        vary = {one.name: one.text for one in self.space}
        return (
            json.dumps({"vary": vary, "trials": self.trials, "prune_after": self.prune_after}, indent=1)
            + "\n"
        )


def plan_of(
    prepared: Prepared,
    config: Config,
    options: TuneOptions,
    vary: Sequence[str],
    fixed: Collection[str],
    given: TaskDistribution | None = None,
) -> Plan:
    """The plan of a tuning, new or to be gone on with.

    Args:
        prepared: with the folder, and whether the tuning there is to go on.
        config: what all trials have.
        options: how it goes.
        vary: see `space_of`.
        fixed: options that were given, which are not varied unless ``vary`` says so.
        given: tasks in place of those that the configuration names.

    Raises:
        FphiError: an option cannot be varied so, there are no development tasks, or the tuning that is to go
            on began with something else.
    """
    training, out = config.part(Training), prepared.named.out
    if training.devices > 1:
        raise FphiError(f"--devices is {training.devices}; the trials of a tuning take one device each")
    run = FewShotRun(config, given)
    setting = _setting(run, run.tasks(training.seed))
    before = _read(out / PLAN) if prepared.named.resume else _NOTHING
    texts = [f"{name}={text}" for name, text in before["vary"].items()]
    space = space_of(run.method, setting, texts or vary, fixed)
    if not texts:
        require_effect(run.method, space, setting)
    if texts and vary and set(space) != set(space_of(run.method, setting, vary, fixed)):
        raise FphiError(f"{out} began with --vary {' --vary '.join(texts)}; resume it without --vary")
    trials = options.trials or before["trials"]
    prune_after = before["prune_after"] if options.prune_after is None else options.prune_after
    plan = Plan(run.config, prepared.parser, setting, space, trials, prune_after, given)
    for one in space:
        for value in one.ends:
            plan.config_of({one.name: value})
    return plan


def _setting(run: FewShotRun, tasks: TaskDistribution) -> Setting:
    """That of the tasks, of which there have to be some to train on and some to judge by."""
    if not {"train", "validation"} <= set(tasks.splits):
        raise FphiError(
            f"these tasks have the splits {', '.join(tasks.splits)}, and tuning needs train and validation: "
            "choose another --protocol, or leave --train-on-validation out"
        )
    return run.setting(tasks)


def _read(path: Path) -> dict[str, Any]:
    """The plan that a tuning began with.

    Raises:
        FphiError: there is none, or it is damaged.
    """
    if not path.is_file():
        raise FphiError(f"{path.parent} is no tuning (no {PLAN}): give the --out of an fphi tune")
    try:
        content = parse_json(read_text(path), once=True)
    except ValueError as error:
        raise FphiError(f"{path} is damaged ({' '.join(str(error).split())[:200]}); restore it") from error
    kinds = {"vary": dict, "trials": int, "prune_after": int}
    if not isinstance(content, dict) or {key: type(value) for key, value in content.items()} != kinds:
        raise FphiError(f"{path} does not hold what is varied, trials and prune_after; restore it")
    if not content["vary"] or not all(isinstance(text, str) for text in content["vary"].values()):
        raise FphiError(f"{path} does not hold what is varied by its names; restore it")
    TuneOptions(content["trials"], content["prune_after"])
    return content
