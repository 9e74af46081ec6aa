"""The trials as Optuna keeps them: importance, what a process left, and which of them is the best."""

import math
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from fphi.errors import FphiError
from fphi.experiment.tuning.dimensions import Dimension, Values
from fphi.experiment.tuning.proposing import ExhaustedError
from fphi.experiment.tuning.result import Record, Tuned
from fphi.experiment.tuning.study import Study
from tuning_helpers import no_waiting_for_the_disk


@pytest.fixture(autouse=True, scope="module")
def quick_disk() -> Iterator[None]:
    with no_waiting_for_the_disk():
        yield


def test_fanova_finds_the_option_that_matters(tmp_path: Path) -> None:
    space = (Dimension("a", (), 0.0, 1.0), Dimension("b", (1, 2)))
    study = Study(tmp_path / "study.db", "x", space, 0, maximize=False, prune_after=99, warmup=0)
    for _ in range(8):
        trial = study.next({})
        value = trial.values["a"]
        assert isinstance(value, float)
        trial.complete(value, None, value)
    found = study.importance()
    assert list(found) == ["a", "b"]
    assert math.isclose(sum(found.values()), 1)
    assert found["a"] > 0.8
    one = Study(tmp_path / "one.db", "y", space[:1], 0, maximize=False, prune_after=99, warmup=0)
    for value in (1.0, 1.0, 1.0, 1.0, 2.0):
        assert one.importance() == {}
        one.next({}).complete(value, None, value)
    assert one.importance() == {"a": 1.0}


def test_equal_accuracies_are_told_apart_by_the_loss() -> None:
    def record(number: int, state: str, accuracy: float, loss: float) -> Record:
        return Record(number, state, {}, accuracy, loss, 5, None)

    trials = (
        record(0, "complete", 0.5, 1.0), record(1, "complete", 0.75, 2.0), record(2, "complete", 0.75, 1.5),
        record(3, "pruned", 0.9, 0.1), record(4, "failed", 1.0, 0.0),
    )  # fmt: skip
    by_accuracy = Tuned("maml", "accuracy", (), trials, {}, None, None, False)
    assert [trial.number for trial in by_accuracy.ranking] == [2, 1, 0, 3, 4]
    by_loss = Tuned("maml", "loss", (), trials, {}, None, None, False)
    assert [trial.number for trial in by_loss.ranking] == [0, 2, 1, 3, 4]


def test_a_trial_whose_process_ends_three_times_at_one_step_is_given_up(tmp_path: Path) -> None:
    space = (Dimension("a", (1, 2)), Dimension("b", (), 0.0, 1.0))

    def study() -> Study:  # of a new process each
        return Study(tmp_path / "study.db", "x", space, 0, maximize=False, prune_after=1, warmup=0)

    first = study().next({"a": 2})
    assert first.values["a"] == 2
    assert first.begin(0)
    assert not first.report(1, 0.5, None, 0.5)
    for step, goes_on in ((3, True), (3, True), (3, True), (3, False)):
        left = study().next({"a": 2})
        assert (left.number, left.values) == (0, first.values)
        assert left.begin(step) is goes_on
        assert left.report(1, 0.5, None, 0.5) is False  # which is known
    left.fail("often")
    assert study().finished == 1
    assert study().next({}).number == 1


def test_what_was_behind_when_its_process_ended_is_pruned_at_once(tmp_path: Path) -> None:
    def study() -> Study:
        return Study(
            tmp_path / "s.db", "x", (Dimension("a", (1, 2)),), 0, maximize=True, prune_after=1, warmup=2
        )

    first = study().next({})
    assert not any(first.report(step, 0.5, 0.5, 1.0) for step in (1, 2))
    first.complete(0.5, 0.5, 1.0)
    second = study().next({})
    assert not second.report(1, 0.1, 0.1, 1.0)  # too early
    assert second.report(2, 0.2, 0.2, 1.0)
    assert study().next({}).is_behind()


def test_a_trial_that_was_left_before_all_was_sampled_is_sampled_again(tmp_path: Path) -> None:
    space = (Dimension("a", (), 0.0, 1.0), Dimension("b", (1, 2)))

    def study(name: str) -> Study:
        return Study(tmp_path / name, "x", space, 7, maximize=False, prune_after=1, warmup=0)

    for name in ("whole", "left"):
        study(name).next({"a": 0.5}).complete(1.0, None, 1.0)
    optuna.load_study(study_name="x", storage=f"sqlite:///{tmp_path}/left").ask()  # and the process ends
    whole, left = (study(name).next({"a": 0.5}) for name in ("whole", "left"))
    assert (whole.number, left.number) == (1, 2)
    assert left.values == whole.values
    left.complete(2.0, None, 2.0)
    assert [(record.number, record.state) for record in study("left").records()] == [
        (0, "complete"),
        (2, "complete"),
    ]
    assert study("left").finished == 2


def test_no_trial_is_trained_twice_and_all_there_can_be_are(tmp_path: Path) -> None:
    """In whatever state the others are, and beside them; the usual values come first."""
    space = (Dimension("a", (1, 2)), Dimension("b", (), 1, 3, whole=True))
    study = Study(tmp_path / "study.db", "x", space, 0, maximize=False, prune_after=99, warmup=0)
    trials = [study.next({"a": 2, "b": 3})]
    assert trials[0].values == {"a": 2, "b": 3}
    for _ in range(5):
        trials.append(study.next({"a": 2, "b": 3}, [trial.number for trial in trials[-1:]]))
        trials[-2].complete(1.0, None, 1.0)
    assert [trial.number for trial in trials] == list(range(6))
    assert len({tuple(trial.values.items()) for trial in trials}) == 6
    with pytest.raises(ExhaustedError):
        study.next({}, [5])
    trials[-1].fail("no")
    with pytest.raises(ExhaustedError):
        study.next({})
    assert [record.state for record in study.records()] == ["complete"] * 5 + ["failed"]


def test_what_has_no_effect_tells_no_two_trials_apart(tmp_path: Path) -> None:
    """Gradient descent has no momentum: of it there is one trial, however often TPE proposes it."""
    space = (Dimension("rule", ("sgd", "momentum")), Dimension("momentum", (), 0.1, 0.9))

    def same(values: Values) -> tuple[object, ...]:
        return tuple(values.items()) if values["rule"] == "momentum" else (values["rule"],)

    study = Study(tmp_path / "study.db", "x", space, 0, maximize=False, prune_after=99, warmup=0)
    rules = []
    for _ in range(15):
        trial = study.next({"rule": "sgd", "momentum": 0.9}, same=same)
        rules.append(trial.values["rule"])
        trial.complete(0.0 if rules[-1] == "sgd" else 1.0, None, 1.0)
    assert rules == ["sgd"] + ["momentum"] * 14


def test_an_option_of_which_one_value_came_to_an_end_has_no_importance(tmp_path: Path) -> None:
    space = (Dimension("a", (), 0.0, 1.0), Dimension("b", (1, 2)))
    study = Study(tmp_path / "study.db", "x", space, 0, maximize=False, prune_after=99, warmup=0)
    for _ in range(12):
        trial = study.next({})
        if trial.values["b"] == 1:
            trial.fail("no")
        else:
            trial.complete(float(str(trial.values["a"])), None, 1.0)
    assert study.importance() == {"a": 1.0, "b": 0.0}
    assert {record.state for record in study.records()} == {"complete", "failed"}


def test_a_study_of_another_tuning_is_refused(tmp_path: Path) -> None:
    space = (Dimension("a", (1, 2)), Dimension("b", (), 0.0, 1.0))

    def study(name: str = "x", other: tuple[Dimension, ...] = space, maximize: bool = False) -> Study:
        return Study(tmp_path / "study.db", name, other, 0, maximize=maximize, prune_after=1, warmup=0)

    study().next({}).complete(1.0, None, 1.0)
    study().next({})  # which its process leaves
    assert study().finished == 1
    for options, message in (
        ({"name": "y"}, r"another tuning, of x, not y: restore"),
        ({"maximize": True}, "another tuning, which was to minimize: restore"),
        (
            {"other": space[1:]},
            r"whose trial 0 has a of CategoricalDistribution\(choices=\(1, 2\)\): restore",
        ),
        ({"other": (Dimension("a", (1, 3)), space[1])}, "whose trial 0 has a of"),
        ({"other": (space[0], Dimension("b", (), 0.0, 2.0))}, "whose trial 0 has b of"),
        ({"other": (*space, Dimension("c", (1, 2)))}, "whose trial 0 has no c: restore"),
    ):
        with pytest.raises(FphiError, match=message):
            study(**options)
