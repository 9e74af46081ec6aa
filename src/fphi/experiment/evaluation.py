"""Across-task testing of a run: what it reached on new tasks, kept beside its parameters."""

from collections.abc import Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass, fields, replace
from inspect import signature
from pathlib import Path
from typing import Any, cast, overload

import torch
from torch import Tensor

from fphi.errors import FphiError
from fphi.experiment.config import CONFIG, FROM_FILES, has_tasks, read_run
from fphi.experiment.connections import require_data
from fphi.experiment.loading import WITHOUT_TASKS, as_other, load_learner, other_method, trained_run
from fphi.experiment.parser import as_written
from fphi.experiment.records import record_of
from fphi.experiment.running import ExecutorOptions
from fphi.experiment.setup import FewShotRun
from fphi.experiment.sizes import require_own_seed, require_own_sizes
from fphi.experiment.sureness import sureness
from fphi.learnable import LearningAlgorithm
from fphi.learnable.turning import TurningLearner
from fphi.networks.calibration import lacks_statistics
from fphi.ranges import count, number, require_ranges
from fphi.report.files import TestRecord, test_name, write_test
from fphi.run.disk.checkpoint import BEST, read_note
from fphi.run.disk.mark import parameters_mark
from fphi.run.meta.evaluate import How, Measured, calibrate_on, joined, measure, parts_of
from fphi.run.meta.evaluate import evaluate as evaluate_learner
from fphi.run.meta.evaluation import Evaluation
from fphi.run.meta.ranks import launch
from fphi.run.search.executors import Executor
from fphi.run.show.say import say
from fphi.tasks import GIVEN, Task, TaskDistribution
from fphi.within.randomness import undisturbed

__all__ = ["EvaluationOptions", "RunEvaluation", "evaluate", "evaluate_run"]

_SAID = {"ways", "shots", "queries", "test_steps", "data_root"}  # what a record says of other options
_USUAL = 600  # test tasks, as most of the literature has them


@dataclass(frozen=True)
class EvaluationOptions:
    """What a run is to be tested on.

    Args:
        test_tasks: how many; None: 600, or all where there is a fixed number of them.
        seed: of the test tasks: equal seeds, equal tasks.
        split: "test"; or "validation", or "trials" where the protocol has published ones.
        steps: inner steps that ``by_step`` goes up to; None: as many as the learner takes.
        chunk_size: tasks solved at once, which bounds the memory; None: by their size.
        turns: turns of a whole task that answers are the mean over, 1, 4 or 8 (with mirror images).
        other: options of the tasks or the method in place of the run's own.
        allowed: what is in files of Python, by option, see `Config.read`; or "nil" as the method, see
            `FewShotMethod.testing`.
        inductive: False leaves the inductive accuracy out where it would cost extra passes; the run's folder
            keeps no such test.
        calibrate: whether probabilities are calibrated on development tasks too, and it is measured how well
            queries of classes that a task does not have are told.
    """

    test_tasks: int | None = count(None)
    seed: int = number(0, 0, 2**63 - 1)
    split: str = "test"
    steps: int | None = count(None, 10_000, least=0)
    chunk_size: int | None = count(None)
    turns: int = 1
    other: Mapping[str, Any] | None = None
    allowed: Mapping[str, str] | None = None
    inductive: bool = True
    calibrate: bool = False

    def __post_init__(self) -> None:
        """Refuse numbers out of their ranges."""
        require_ranges(type(self), vars(self))


@dataclass(frozen=True)
class RunEvaluation:
    """What came of a test.

    Args:
        name: of the test, by its sizes.
        record: what JSON says of it.
        scores: values by task ``[n]``, by name.
        of_run: whether the run's folder may keep it as its own: its tasks are of the kind trained on, and
            the record says all that is special.
    """

    name: str
    record: dict[str, Any]
    scores: dict[str, Tensor]
    of_run: bool

    @property
    def test_record(self) -> TestRecord:
        """The record as the reports read it."""
        return cast(TestRecord, self.record)

    def keep(self, run: Path) -> None:
        """Write it beside the parameters of ``run``."""
        write_test(run, self.name, self.record, self.scores)


@overload
def evaluate(what: LearningAlgorithm, tasks: Task | TaskDistribution, **options: Any) -> Evaluation: ...


@overload
def evaluate(
    what: Path | str, tasks: TaskDistribution | str | Path | None = None, **options: Any
) -> dict[str, Any]: ...


def evaluate(
    what: LearningAlgorithm | Path | str,
    tasks: Task | TaskDistribution | str | Path | None = None,
    **options: Any,
) -> Evaluation | dict[str, Any]:
    """Test a learner, or the learner of a run, on new tasks.

    Args:
        what: a learner, or the folder of a run, where the result is kept in ``tests/``.
        tasks: for a learner a batch of tasks or a distribution over them; for a run other data than its own,
            by name, path or as a distribution (nothing is kept then, unless the run was trained on a
            distribution of the same ``protocol``, which is to be given again).
        options: for a learner see `fphi.run.meta.evaluate.evaluate` (``split``, ``count``, …);
            for a run those of ``fphi evaluate``: ``test_tasks``, ``seed``, ``split``, ``ways``, ``shots``,
            ``executor``, ``accelerator``, …, and of its method: with any but ``test_steps`` nothing is kept,
            nor with ``method="nil"``, which tests a run of a gradient learner without an inner loop.

    Returns:
        The `Evaluation` of a learner; of a run what ``fphi evaluate --json`` prints.

    Raises:
        FphiError: an option does not exist or does not fit, or the run is damaged.
    """
    if not isinstance(what, LearningAlgorithm | Path | str):
        raise FphiError(
            f"{type(what).__name__} is neither a learner nor a path: give a learner, or a run's folder"
        )
    if not isinstance(tasks, Task | TaskDistribution | str | Path | None):
        raise FphiError(f"the tasks are a {type(tasks).__name__}; give a fphi.Task, or fphi.load_tasks(…)")
    if isinstance(what, LearningAlgorithm):
        if not isinstance(tasks, Task | TaskDistribution):
            raise FphiError(f"a learner is tested on tasks, not on {tasks!r}; give fphi.load_tasks(…)")
        unknown = sorted(options.keys() - signature(evaluate_learner).parameters.keys())
        if unknown:
            raise FphiError(
                f"evaluate has no option {unknown[0]!r} for a learner; see fphi.run.meta.evaluate"
            )
        return evaluate_learner(what, tasks, **options)
    options, given = as_written(options), tasks if isinstance(tasks, TaskDistribution) else None
    where = {f.name: options.pop(f.name) for f in fields(ExecutorOptions) if f.name in options}
    spread_options, accelerator = ExecutorOptions(**where), options.pop("accelerator", "cpu")
    own = {f.name for f in fields(EvaluationOptions)} - {"other", "allowed"}
    files: dict[str, str] = {key: str(options[key]) for key in ("method", "network") if key in options}
    other = {key: value for key, value in options.items() if key not in own and key not in files}
    if isinstance(tasks, str | Path):
        other["tasks"] = files["tasks"] = str(tasks)
    how = {key: value for key, value in options.items() if key in own}
    test = EvaluationOptions(**how, other=other, allowed=files)
    with closing(spread_options.make()) if spread_options != ExecutorOptions() else nullcontext() as executor:
        tested = launch(
            lambda ranks: evaluate_run(Path(what), test, ranks.device, given, executor), accelerator
        )
    if tested.of_run:
        tested.keep(Path(what))
    return tested.record


@undisturbed()
def evaluate_run(
    run: Path,
    test: EvaluationOptions,
    device: torch.device | None = None,
    given: TaskDistribution | None = None,
    executor: Executor | None = None,
) -> RunEvaluation:
    """Test a trained run on new tasks.

    Args:
        run: the folder.
        test: on what.
        device: where; None: on the CPU.
        given: tasks in place of those that the run names; those again that it was trained on, if it was on
            given ones.
        executor: where parts of the tasks are tested; None: all here.

    Raises:
        FphiError: the run is damaged, its learner cannot solve such tasks, or it was trained on given ones
            and none are given.
    """
    trained_on_given = read_run(run).get("tasks") == GIVEN
    # Before they are loaded, since a training may replace them meanwhile; a run without any is refused next.
    mark = parameters_mark(run / BEST) if (run / BEST).is_file() else ""
    trained, tasks, learner = _loaded(run, test, device, given)
    for line in tasks.changes:
        say(line)
    count = _count(tasks, test)
    turning, how = _turning(learner, test), _how(test)
    if executor is None or given is not None:
        parts = [measure(turning, tasks, range(count), how)]
    else:
        numbers = parts_of(turning, tasks, how, count, 4 * executor.slots)
        futures = [executor.submit(_measured_part, (run, test, device, part)) for part in numbers]
        parts = [future.result() for future in futures]
    evaluation = joined(parts)
    scores = {name: values.contiguous() for name, values in evaluation.per_task().items()}
    steps = (test.other or {}).get("test_steps")
    record = record_of(
        run,
        trained,
        tasks,
        evaluation,
        split=test.split,
        turns=test.turns,
        seed=test.seed,
        test_steps=steps,
    ) | {"parameters": mark}
    if tested_as := other_method(run, test.allowed):
        record["method"] += f" as {tested_as}"
    if test.calibrate:
        development = trained.tasks(trained.training.seed)
        development = development if device is None else development.on(device)
        record["sureness"] = sureness(turning, tasks, development, test.split, count).to_json()
    name = test_name(tasks.ways, record["shots"], split=test.split, turns=test.turns, steps=steps)
    own = given is None or (trained_on_given and read_note(run / BEST).get("protocol") == given.protocol)
    return RunEvaluation(name, record, scores, own and _is_of_run(run, test))


def _loaded(
    run: Path, test: EvaluationOptions, device: torch.device | None, given: TaskDistribution | None
) -> tuple[FewShotRun, TaskDistribution, LearningAlgorithm]:
    """A run with the options of a test, its tasks, and its learner, both where it is to be tested."""
    own_tasks = given is None and "tasks" not in (test.other or {})
    needed = FROM_FILES if own_tasks else WITHOUT_TASKS
    tested_as = other_method(run, test.allowed)
    named = {key: named for key, named in (test.allowed or {}).items() if key != "method" or not tested_as}
    trained = replace(trained_run(run, named, needed=needed), given=given).changed(test.other or {})
    if own_tasks:
        require_data(run / CONFIG, trained.options.tasks, trained.options.data_root)
    tasks = trained.tasks(test.seed, [test.split])
    if test.split in tasks.splits:
        require_own_sizes(test.other or {}, trained.options, tasks, test.split)
        require_own_seed(test.seed, trained.options, tasks, test.split)
    setting = trained.setting(tasks)
    learner = load_learner(run, trained, setting)
    if tested_as is not None:
        learner = as_other(run, tested_as, learner, setting)
    if lacks_statistics(learner):  # a start that nothing was learned from, as runs of before kept it
        calibrate_on(learner, trained.tasks(trained.training.seed, ["train"]))
    if device is None:
        return trained, tasks, learner
    try:
        return trained, tasks.on(device), learner.to(device)
    except (RuntimeError, AssertionError) as error:  # torch has no class of its own for it
        raise FphiError(
            f"{device} cannot be had where tasks are tested ({' '.join(str(error).split())[:200]}): "
            "take --accelerator cpu, or on Ray give each of them its share by --ray-gpus"
        ) from error


def _measured_part(asked: tuple[Path, EvaluationOptions, torch.device | None, range]) -> Measured:
    """Some of a test's tasks, in another process."""
    run, test, device, numbers = asked
    _, tasks, learner = _loaded(run, test, device, None)
    return measure(_turning(learner, test), tasks, numbers, _how(test))


def _turning(learner: LearningAlgorithm, test: EvaluationOptions) -> LearningAlgorithm:
    return learner if test.turns == 1 else TurningLearner(learner, test.turns)


def _how(test: EvaluationOptions) -> How:
    return How(test.split, test.steps, test.inductive, test.chunk_size)


def _is_of_run(run: Path, test: EvaluationOptions) -> bool:
    other = dict(test.other or {})
    tasks = other.pop("tasks", None)
    whole = test.inductive and test.split not in ("train", "validation")
    whole = whole and other_method(run, test.allowed) is None
    return whole and set(other) <= _SAID and (tasks is None or has_tasks(run, str(tasks)))


def _count(tasks: TaskDistribution, test: EvaluationOptions) -> int:
    most = tasks.count(test.split)
    if most is not None and (test.test_tasks or most) > most:
        raise FphiError(
            f"--split {test.split} has {most} tasks; give --test-tasks {most} at most, or leave it out"
        )
    return test.test_tasks or most or _USUAL
