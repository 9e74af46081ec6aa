"""Tuning: trainings with different options, each judged on development tasks alone."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from fphi.errors import FphiError
from fphi.experiment.config import CONFIG
from fphi.experiment.few_shot import require_no_other_config
from fphi.experiment.plugins import method_named
from fphi.experiment.prepare import Named, Prepared, prepare
from fphi.experiment.running import ExecutorOptions
from fphi.experiment.setup import FewShotRun
from fphi.experiment.training import named_method
from fphi.experiment.tuning.dimensions import written
from fphi.experiment.tuning.plan import PLAN, Plan, TuneOptions, plan_of
from fphi.experiment.tuning.result import Record, Tuned, changed_options, train_command
from fphi.methods.base import FewShotMethod, Method
from fphi.ranges import Range, checked
from fphi.report.tables import percent
from fphi.run.disk.directory import beside, claim
from fphi.run.disk.files import write_text
from fphi.run.disk.interrupt import interrupts
from fphi.run.meta.training import Training
from fphi.run.search.executors import ExecutorKind
from fphi.run.show.say import say
from fphi.tasks import GIVEN, TaskDistribution
from fphi.within.randomness import undisturbed

__all__ = ["prepare_tuning", "tune", "tune_as_configured"]

_STUDY, _RESULT = "study.db", "tuning.json"
_USUAL: Mapping[str, object] = {"best_by": "accuracy", "validate_every": 0}  # unless the user says otherwise


@checked(prune_after=Range(0))
def tune(
    method: str | Method | type[Method],
    *,
    out: Path | str | None = None,
    tasks: str | Path | TaskDistribution | None = None,
    vary: Sequence[str] = (),
    trials: int | None = None,
    prune_after: int | None = None,
    resume: bool = False,
    progress: bool = False,
    executor: ExecutorKind = "in-process",
    workers: int | None = None,
    ray_address: str | None = None,
    **options: Any,
) -> Tuned:
    """Train a few-shot method with different options, and find the best on development tasks.

    No test task is drawn. Every trial is a run in ``out/trials``; Optuna keeps what they came to in
    ``out/study.db``. Needs the extra ``fphi[tune]``.

    Args:
        method: its name, ``FILE.py:NAME``, or a method with options, which then stay as they are.
        out: the tuning's folder; ``runs/tune-METHOD`` if None.
        tasks: the name or path of the data, or a distribution over tasks of your own.
        vary: the options that are varied: ``"inner_lr=0.01:1:log"``, ``"inner_steps=1,3,5"``, ``"outer_lr"``
            for its usual values, ``"usual"`` for all options that are varied where this is empty: the
            method's own, but for those that are given.
        trials: trainings; None: 20, or with ``resume`` as before.
        prune_after: whole trainings before the first may be pruned; None: 4, or with ``resume`` as before.
        resume: go on with the tuning in ``out``; a trial that was broken off goes on where it was saved last.
        progress: whether to say on stderr how each trial ended.
        executor: where trials are trained: here one after another, in processes, or on Ray; there they are
            side by side, so which trial is proposed depends on which ends first.
        workers: trials at a time.
        ray_address: of a running Ray cluster.
        options: of `train`, as all trials have them. Where not given, ``best_by`` is "accuracy", and a trial
            is validated after each tenth of its steps.

    Raises:
        FphiError: an option does not exist, does not fit or cannot be varied, the folder is taken, or no
            trial came to its end.
    """
    if out is not None and not str(out).strip():
        raise FphiError("out is empty; give the tuning's folder a name, or leave it out")
    name, own = named_method(method)
    folder = Path(out) if out is not None else Path("runs") / f"tune-{name.rpartition(':')[2]}"
    given = tasks if isinstance(tasks, TaskDistribution) else None
    values = {**own, **options}
    if tasks is not None:
        values["tasks"] = tasks if given is None else GIVEN
    names = {key: str(values[key]) for key in ("network", "tasks") if values.get(key)}
    prepared = prepare_tuning({"method": name, **names}, [], folder, resume)
    config = prepared.config(prepared.parser.check(prepared.schema.names | values))
    fixed = {key for key, value in own.items() if value != getattr(type(method), key, None)} | set(options)
    plan = plan_of(prepared, config, TuneOptions(trials, prune_after), vary, fixed, given)
    where = ExecutorOptions(executor, workers, ray_address)
    return tune_as_configured(plan, folder, resume=resume, progress=progress, executor=where)


def prepare_tuning(names: Mapping[str, str], files: Sequence[Path], out: Path, resume: bool) -> Prepared:
    """The parser of the options that all trials have; see `prepare`.

    Raises:
        FphiError: as there, or the method is no few-shot one.
    """
    if not issubclass(method_named(names["method"]), FewShotMethod):
        raise FphiError(f"{names['method']} is no few-shot method, which tune takes: choose maml, say")
    return prepare(Named("tune", names, files, out, resume, _USUAL))


@undisturbed()
def tune_as_configured(
    plan: Plan,
    out: Path,
    *,
    resume: bool = False,
    progress: bool = True,
    executor: ExecutorOptions | None = None,
) -> Tuned:
    """Tune as planned in ``out``; see `tune`.

    Args:
        plan: what is to be done.
        out: the folder.
        resume: go on with the tuning there.
        progress: whether to say how each trial ended.
        executor: where trials are trained; None: here, one after another.
    """
    _require_optuna()
    executor = executor or ExecutorOptions()
    if executor != ExecutorOptions() and plan.given is not None:
        raise FphiError(
            f"tasks that are given as an object stay here; leave executor={executor.executor!r} out"
        )
    if executor != ExecutorOptions():
        _require_training(plan)
    from fphi.experiment.tuning.side_by_side import run_trials
    from fphi.experiment.tuning.study import Study
    from fphi.experiment.tuning.trial import run_one_by_one

    text, training = plan.config.to_yaml(out), plan.config.part(Training)
    with claim(out, resume, (_STUDY, _RESULT)), interrupts() as interrupt:
        if not resume:
            require_no_other_config(out, text)
            write_text(out / CONFIG, text)
        write_text(out / PLAN, plan.text())
        study = Study(
            out / _STUDY,
            plan.config.method.title,
            plan.space,
            training.seed,
            maximize=plan.by_accuracy,
            prune_after=plan.prune_after,
            warmup=training.steps // 5,
        )

        def say_how(number: int) -> None:
            if progress:
                _say_how(study.records(), number, plan)

        if executor != ExecutorOptions():
            with closing(executor.make()) as made:
                run_trials(study, plan, out / "trials", made, interrupt, say_how)
        else:
            run_one_by_one(study, plan, out / "trials", interrupt, say_how, progress=progress)
        left = plan.trials - study.finished
        stopped = interrupt.requested and left > 0
        if left > 0 and not stopped and progress:
            say(f"no {plan.trials} trials differ in what is varied: these {study.finished} are all")
        importance = {} if stopped else study.importance()
        tuned = _result(plan, study.records(), importance, out, stopped)
        if not stopped:
            write_text(out / _RESULT, tuned.to_json() + "\n")
    if not stopped and tuned.best is None:
        reasons = [trial.reason for trial in tuned.trials if trial.reason]
        raise FphiError(f"no trial of {len(tuned.trials)} came to its end; the first failed: {reasons[0]}")
    return tuned


def _result(
    plan: Plan, trials: list[Record], importance: dict[str, float], out: Path, stopped: bool
) -> Tuned:
    by = "accuracy" if plan.by_accuracy else "loss"
    tuned = Tuned(plan.config.name, by, plan.space, tuple(trials), importance, None, None, stopped)
    if tuned.best is None:
        return tuned
    config = plan.config_of(tuned.best.values)
    command = train_command(config, beside(out, "best"))
    return replace(tuned, options=changed_options(config), command=command)


def _say_how(records: list[Record], number: int, plan: Plan) -> None:
    """One line on the trial of that number, which has ended."""
    last = next(trial for trial in records if trial.number == number)
    done = sum(trial.state != "running" for trial in records)
    measured = "" if last.loss is None else f"loss {last.loss:.4g}"
    if plan.by_accuracy and last.accuracy is not None:
        measured = f"accuracy {percent(last.accuracy)} %"
    ended = {"pruned": f"pruned after {last.step} steps, ", "failed": f"failed ({last.reason})"}.get(
        last.state, ""
    )
    values = ", ".join(f"{name} {written(value)}" for name, value in last.values.items())
    say(f"trial {last.number} ({done}/{plan.trials}): {ended}{'' if last.reason else measured}; {values}")


def _require_training(plan: Plan) -> None:
    """Raise if the method learns nothing across tasks: other processes have nothing to train."""
    run = FewShotRun(plan.config)
    learner = run.learner(run.setting(run.tasks(run.training.seed, ["train", "validation"])))
    if run.optimizer(learner) is None:
        raise FphiError(f"{plan.config.name} learns nothing across tasks: tune it without --executor")


def _require_optuna() -> None:
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise FphiError(
            f"Optuna cannot be loaded ({error}); install the extra with pip install 'fphi[tune]'"
        ) from error
