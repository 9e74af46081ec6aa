"""Tuning: exact repeats, pruning by the median, failures, and never a test task."""

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import fphi
from fphi.errors import DataError, FphiError
from fphi.experiment.tuning.result import Tuned
from fphi.experiment.tuning.study import OpenTrial
from fphi.run.meta.training import TrainingResult
from fphi.tasks import FewShotTasks, SineTasks
from tuning_helpers import no_waiting_for_the_disk

TINY: dict[str, Any] = {
    "tasks": "sine", "shots": 3, "steps": 6, "validate_every": 2, "meta_batch": 1, "validation_tasks": 2, "threads": 1,
    "outer_lr": 0.01, "vary": ["inner_lr=0.001:0.5:log", "inner_steps=1,2"], "prune_after": 1,
}  # fmt: skip
TRIALS = 6


def tiny(out: Path, **options: Any) -> Tuned:
    return fphi.tune("maml", out=out, **{"trials": TRIALS, **TINY, **options})


@pytest.fixture(autouse=True, scope="module")
def quick_disk() -> Iterator[None]:
    with no_waiting_for_the_disk():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tuning") / "tuned"


@pytest.fixture(scope="module")
def tuned(folder: Path) -> Tuned:
    """The one tuning that most tests look at."""
    return tiny(folder)


def losses(run: Path) -> dict[int, float]:
    with (run / "log.csv").open() as file:
        return {int(row["step"]): float(row["validation_loss"]) for row in csv.DictReader(file)}


def weights(run: Path) -> dict[str, Tensor]:
    return load_file(run / "best.safetensors")


def test_the_first_trial_has_the_usual_values_and_the_others_are_inside(tuned: Tuned) -> None:
    assert tuned.trials[0].values == {"inner_lr": 0.01, "inner_steps": 1}
    assert [trial.number for trial in tuned.trials] == list(range(TRIALS))
    assert all(one.holds(trial.values[one.name]) for trial in tuned.trials for one in tuned.space)
    assert len({json.dumps(trial.values) for trial in tuned.trials}) == TRIALS


def test_the_first_trial_has_the_methods_own_rate_where_its_option_is_null(tmp_path: Path) -> None:
    few: dict[str, Any] = {
        "tasks": "quadratics",
        "steps": 1,
        "meta_batch": 1,
        "inner_steps": 2,
        "validation_tasks": 1,
    }
    tuned = fphi.tune("tuned-optimizer", rule="sgd", trials=1, vary=["inner_lr"], out=tmp_path / "out", **few)
    assert [one.text for one in tuned.space] == ["0.001:0.1:log"]
    assert tuned.trials[0].values == {"inner_lr": 0.01}


def test_a_trial_is_pruned_where_its_best_is_worse_than_the_median(tuned: Tuned, folder: Path) -> None:
    """Computed again from the logs: from the second step on, once one trial has come to its end."""
    whole: list[dict[int, float]] = []
    ends: list[str] = []
    for trial in tuned.trials:
        log = losses(folder / "trials" / f"{trial.number:03d}")
        behind = [
            step
            for step in log
            if whole
            and step >= 1
            and min(v for s, v in log.items() if s <= step) > median(w[step] for w in whole)
        ]
        ends.append("pruned" if behind else "complete")
        assert trial.step == (behind[0] if behind else TINY["steps"]) == max(log)
        if not behind:
            whole.append(log)
    assert [trial.state for trial in tuned.trials] == ends
    assert 0 < ends.count("pruned") < TRIALS - 1


def test_the_best_has_the_lowest_loss_and_its_options_train_it_again(
    tuned: Tuned, folder: Path, tmp_path: Path
) -> None:
    best = tuned.best
    assert best is not None
    assert tuned.options is not None
    ended = [trial for trial in tuned.trials if trial.state == "complete"]
    assert best.loss == min(trial.loss for trial in ended if trial.loss is not None)
    assert best.loss == min(losses(folder / "trials" / f"{best.number:03d}").values())
    result = fphi.train("maml", out=tmp_path / "again", **tuned.options)
    assert isinstance(result, TrainingResult)
    assert result.validation_loss == best.loss
    again, first = weights(tmp_path / "again"), weights(folder / "trials" / f"{best.number:03d}")
    assert again.keys() == first.keys()
    assert all(again[name].equal(first[name]) for name in first)


def test_equal_seeds_give_equal_trials_and_others_do_not(tuned: Tuned, tmp_path: Path) -> None:
    again = tiny(tmp_path / "again", trials=2)
    assert again.trials == tuned.trials[:2]
    other = tiny(tmp_path / "other", trials=2, seed=1)
    assert other.trials[0].values == tuned.trials[0].values
    assert other.trials[1].values != tuned.trials[1].values

    more = tiny(tmp_path / "again", trials=TRIALS, resume=True)  # as if it had never stopped
    assert (more.trials, more.importance, more.options) == (tuned.trials, tuned.importance, tuned.options)
    assert fphi.tune("maml", out=tmp_path / "again", resume=True).to_json() == more.to_json()


def test_a_tuning_ends_where_all_that_differ_have_been_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = tiny(tmp_path / "out", vary=["inner_steps=1,2"], steps=1, progress=True)
    assert [trial.values["inner_steps"] for trial in few.trials] == [1, 2]
    assert not few.interrupted
    assert capsys.readouterr().err.splitlines()[-1] == (
        "no 6 trials differ in what is varied: these 2 are all"
    )
    spread = tiny(tmp_path / "spread", vary=["inner_steps=1,2"], steps=1, executor="processes", workers=2)
    assert [trial.values["inner_steps"] for trial in spread.trials] == [1, 2]
    # 0.01 is what null comes to.
    nulls = tiny(tmp_path / "nulls", vary=["inner_lr=null,0.01,0.02"], steps=1)
    assert sorted(str(trial.values["inner_lr"]) for trial in nulls.trials) in (
        ["0.01", "0.02"],
        ["0.02", "None"],
    )
    assert tiny(tmp_path / "nulls", vary=(), steps=1, resume=True).trials == nulls.trials


def test_importance_is_a_division_of_one(tuned: Tuned) -> None:
    assert sum(trial.state == "complete" for trial in tuned.trials) < 4
    assert tuned.importance == {}  # of three nothing can be said


@pytest.fixture
def only_development(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The splits that tasks are drawn of."""
    drawn: set[str] = set()
    for kind in (FewShotTasks, SineTasks):
        batch = kind.batch

        def watched(self: Any, split: str, indices: Sequence[int], batch: Any = batch) -> fphi.Task:
            drawn.add(split)
            result: fphi.Task = batch(self, split, indices)
            return result

        monkeypatch.setattr(kind, "batch", watched)
    return drawn


def test_no_test_task_is_drawn(tmp_path: Path, only_development: set[str]) -> None:
    tiny(tmp_path / "waves", trials=1)
    assert only_development == {"train", "validation"}
    images: dict[str, Any] = {"tasks": "hershey", "ways": 2, "queries": 1, "network": "mlp", "steps": 1}
    by_accuracy = tiny(tmp_path / "images", trials=2, **images)
    assert only_development == {"train", "validation"}
    assert by_accuracy.by == "accuracy"
    fphi.tune(
        "from-scratch",
        out=tmp_path / "start",
        trials=1,
        validation_tasks=2,
        vary=["inner_steps=1,2"],
        **images,
    )
    assert only_development == {"train", "validation"}
    fphi.evaluate(tmp_path / "images" / "trials" / "000", test_tasks=1)
    assert "test" in only_development  # which would be noticed


def test_what_learns_nothing_across_tasks_is_measured_as_it_starts(tmp_path: Path) -> None:
    few: dict[str, Any] = {"tasks": "sine", "shots": 3, "validation_tasks": 2, "vary": ["inner_steps=0,3"]}
    state = torch.get_rng_state()
    tuned = fphi.tune("from-scratch", out=tmp_path / "out", trials=2, **few)
    assert torch.get_rng_state().equal(state)
    for trial in tuned.trials:
        run = tmp_path / "out" / "trials" / f"{trial.number:03d}"
        measured = fphi.evaluate(run, split="validation", test_tasks=2)
        assert trial.loss == measured["loss"]["mean"]


def test_a_training_that_diverges_is_a_failed_trial_and_not_the_end(tmp_path: Path) -> None:
    tuned = tiny(
        tmp_path / "out", vary=["inner_lr=0.01,1000"], inner_steps=8, test_steps=9, prune_after=99, trials=3
    )
    states = {trial.values["inner_lr"]: trial.state for trial in tuned.trials}
    assert states == {0.01: "complete", 1000.0: "failed"}
    reasons = {trial.reason for trial in tuned.trials if trial.state == "failed"}
    assert all(reason is not None and "\n" not in reason for reason in reasons)
    with pytest.raises(FphiError, match=r"no trial of 2 came to its end; the first failed: .*nan"):
        tiny(tmp_path / "none", vary=["inner_lr=999,1000"], inner_steps=8, test_steps=9, trials=2)


def test_data_that_cannot_be_had_are_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: Any, **__: Any) -> None:
        raise DataError("the data are gone")

    tiny(tmp_path / "out", trials=1)
    monkeypatch.setattr("fphi.experiment.tuning.trial.train_as_configured", gone)
    with pytest.raises(DataError, match="the data are gone"):
        tiny(tmp_path / "out", trials=2, resume=True)
    monkeypatch.undo()
    assert len(tiny(tmp_path / "out", trials=2, resume=True).ended) == 2


@pytest.mark.parametrize("moment", ["begin", "complete"])
def test_a_process_that_ends_before_or_after_a_training_loses_nothing(
    moment: str, tuned: Tuned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends(*_: Any) -> None:
        raise SystemExit

    monkeypatch.setattr(OpenTrial, moment, ends)
    with pytest.raises(SystemExit):
        tiny(tmp_path / "out", trials=1)
    monkeypatch.undo()
    assert tiny(tmp_path / "out", trials=1, resume=True).trials == tuned.trials[:1]


class Slopes(fphi.TaskDistribution):
    """y = i x in task i; the test tasks are nobody's business."""

    ways = None
    shots = 2

    @property
    def splits(self) -> tuple[str, ...]:
        return ("train", "validation", "test")

    def batch(self, split: str, indices: Sequence[int]) -> fphi.Task:
        assert split != "test"
        x = SineTasks(shots=2).batch(split, indices)
        slopes = Tensor([[[float(i % 3)]] for i in indices])
        return fphi.Task(*(fphi.Examples(e.x, slopes * e.x) for e in x))


def test_tasks_given_in_python(tmp_path: Path) -> None:
    given = {key: value for key, value in TINY.items() if key not in ("shots", "tasks")}
    tuned = fphi.tune("maml", out=tmp_path / "out", trials=2, **given, tasks=Slopes())
    assert tuned.command is None
    assert tuned.best is not None
    assert tuned.options is not None
    options = {key: value for key, value in tuned.options.items() if key != "tasks"}
    fphi.train("maml", out=tmp_path / "again", tasks=Slopes(), **options)
    first = weights(tmp_path / "out" / "trials" / f"{tuned.best.number:03d}")
    assert all(t.equal(first[name]) for name, t in weights(tmp_path / "again").items())


def test_the_extra_is_named_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(
        FphiError, match=r"^Optuna cannot be loaded \(.*\); install .* pip install 'fphi\[tune\]'$"
    ):
        tiny(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_damaged_files_are_said_in_one_line(tmp_path: Path) -> None:
    out = tmp_path / "out"
    tiny(out, trials=1)
    for name, content, message in (
        (
            "vary.json",
            b'{"vary": {}, "trials": 1, "prune_after": 1}',
            "does not hold what is varied by its names",
        ),
        (
            "vary.json",
            b'{"vary": {"inner_lr": "0.1:1"}, "trials": "x", "prune_after": 1}',
            "does not hold what",
        ),
        (
            "vary.json",
            b'{"vary": {"nonsense": "0.1:1"}, "trials": 1, "prune_after": 1}',
            "--vary nonsense: it can",
        ),
        ("vary.json", b"{", "vary.json is damaged"),
        ("study.db", b"no database" * 400, "study.db cannot be used"),
        ("config.yaml", b"method: maml\nsteps: many\n", "config.yaml is damaged"),
    ):
        whole = (out / name).read_bytes()
        (out / name).write_bytes(content)
        with pytest.raises(FphiError, match=message) as refusal:
            fphi.tune("maml", out=out, resume=True)
        assert "\n" not in str(refusal.value)
        (out / name).write_bytes(whole)
    (out / "vary.json").unlink()
    with pytest.raises(FphiError, match=r"is no tuning \(no vary\.json\)"):
        fphi.tune("maml", out=out, resume=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vary": ["inner_lr=-1:1"]}, "--inner-lr is -1; it must be above 0"),
        ({"vary": ["inner_steps=1,x"]}, "--inner-steps is 'x'; it must be a whole number"),
        ({"vary": ["schedule=cosine,sine"]}, "--schedule is 'sine'; it must be one of"),
        ({"devices": 2, "meta_batch": 2}, "--devices is 2; the trials of a tuning take one device each"),
        ({"trials": 0}, "trials is 0; it must be at least 1"),
        ({"vary": "inner_lr=1,2"}, "vary is"),
        ({"nonsense": 1}, "nonsense"),
        ({"resume": True}, "there is no run to resume"),
        ({"tasks": "hershey", "ways": 2, "train_on_validation": True}, "leave --train-on-validation out"),
    ],
)
def test_refusals(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(FphiError) as refusal:
        tiny(tmp_path / "out", **options)
    assert message in str(refusal.value)
    assert not (tmp_path / "out").exists()


def test_searches_are_refused_and_so_is_a_folder_that_is_taken(folder: Path, tuned: Tuned) -> None:
    with pytest.raises(FphiError, match="darts is no few-shot method, which tune takes"):
        fphi.tune("darts")
    with pytest.raises(FphiError, match=r"already holds a run \(study\.db\); .* or go on with --resume"):
        tiny(folder)
    with pytest.raises(
        FphiError, match=r"began with --vary inner_lr=0\.001:0\.5:log --vary inner_steps=1,2; resume"
    ):
        tiny(folder, vary=["inner_lr"], resume=True)
    with pytest.raises(FphiError, match="began with steps 6, not 7"):
        tiny(folder, steps=7, resume=True)
    assert tuned.best is not None


def test_a_method_with_options_keeps_those_that_are_not_usual(tmp_path: Path) -> None:
    from fphi.methods.maml import MAML

    own = {key: value for key, value in TINY.items() if key not in ("vary", "outer_lr")}
    tuned = fphi.tune(MAML(inner_lr=0.02, schedule="linear"), out=tmp_path / "out", trials=1, **own)
    assert [one.name for one in tuned.space] == ["inner_steps", "test_steps", "outer_lr"]
    assert tuned.options is not None
    assert (tuned.options["inner_lr"], tuned.options["schedule"]) == (0.02, "linear")
