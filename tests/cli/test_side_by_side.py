"""Trials of a tuning and tasks of a test in other processes: what comes out is what comes out here."""

import json
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import torch

import fphi
from cli_helpers import fphi as command
from cli_helpers import refused
from fphi.experiment.evaluation import EvaluationOptions, evaluate_run
from fphi.run.meta.evaluate import How, device_of, parts_of
from fphi.run.search.executors import InThisProcess

Capture = pytest.CaptureFixture[str]
SMALL: dict[str, Any] = {
    "steps": 5, "meta_batch": 1, "validation_tasks": 2, "train_ways": 5, "network": "mlp", "threads": 1,
}  # fmt: skip


class Slots(InThisProcess):
    """As if there were several."""

    slots = 3


class FirstIsLast(Slots):
    """What was submitted first ends only when something else has, and a third is submitted."""

    slots = 2

    def __init__(self) -> None:
        self._first: Future[Any] = Future()
        self._submitted: list[Any] = []

    def submit(self, call: Callable[[Any], Any], argument: Any, /) -> Future[Any]:
        self._submitted.append(argument)
        if len(self._submitted) == 1:
            return self._first
        if len(self._submitted) == 3:
            self._first.set_result(call(self._submitted[0]))
        return super().submit(call, argument)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("side_by_side") / "run"
    fphi.train("prototypical", out=run, **{**SMALL, "steps": 1})
    return run


def test_parts_of_a_test_are_the_test(trained: Path) -> None:
    test = EvaluationOptions(test_tasks=50, chunk_size=4)
    whole = evaluate_run(trained, test)
    parts = evaluate_run(trained, test, executor=Slots())
    assert parts.record == whole.record
    assert all(torch.equal(parts.scores[name], whole.scores[name]) for name in whole.scores)


def test_parts_of_a_test_are_where_the_test_is(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = set()

    def measure(learner: fphi.LearningAlgorithm, tasks: fphi.TaskDistribution, *rest: object) -> None:
        places.update({device_of(learner).type, tasks.task("test", 0).query.x.device.type})
        raise RuntimeError("it was measured")

    monkeypatch.setattr("fphi.experiment.evaluation.measure", measure)
    with pytest.raises(RuntimeError, match="it was measured"):
        evaluate_run(trained, EvaluationOptions(4), device=torch.device("meta"), executor=Slots())
    assert places == {"meta"}


def test_a_device_that_is_not_there_is_told(trained: Path) -> None:
    with pytest.raises(fphi.FphiError, match=r"^xla:0 cannot be had where tasks are tested"):
        evaluate_run(trained, EvaluationOptions(4), device=torch.device("xla:0"), executor=Slots())


def test_python_chooses_the_accelerator(trained: Path) -> None:
    assert fphi.evaluate(trained, test_tasks=2, accelerator="cpu")["tasks"] == 2
    with pytest.raises(fphi.FphiError, match=r"cannot run on 1 device\(s\) of kind 'abacus'"):
        fphi.evaluate(trained, test_tasks=2, accelerator="abacus")


def test_parts_begin_where_chunks_do(trained: Path) -> None:
    tasks = fphi.load_tasks("hershey", ways=5, shots=1)
    learner = fphi.load(trained)
    assert isinstance(learner, fphi.LearningAlgorithm)
    for count, parts in ((50, 3), (3, 8), (1, 1), (64, 5)):
        found = parts_of(learner, tasks, How(chunk_size=4), count, parts)
        assert [number for part in found for number in part] == list(range(count))
        assert all(part.start % 4 == 0 for part in found)
        assert len(found) <= parts


def test_the_command_tests_in_processes(trained: Path, capsys: Capture) -> None:
    words = ("evaluate", trained, "--test-tasks", 8, "--seed", 5, "--json")
    records = []
    for where in ((), ("--executor", "processes", "--workers", 1)):
        assert command(*words, *where) == 0
        records.append(json.loads(capsys.readouterr().out))
    assert records[0] == records[1]


def tuned(out: Path, **options: Any) -> Any:
    given = {"vary": ["outer_lr=0.0001:0.1:log"], "trials": 3, "prune_after": 1}
    return fphi.tune("prototypical", out=out, **{**given, **SMALL, **options})


def test_trials_side_by_side_are_trained_as_they_are_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna", reason="needs the extra fphi[tune]")
    monkeypatch.setattr("fphi.experiment.running.make_executor", lambda *options: InThisProcess())
    one, other = tuned(tmp_path / "one"), tuned(tmp_path / "other", executor="processes")
    assert [trial.values for trial in one.trials][:2] == [trial.values for trial in other.trials][:2]
    same = {json.dumps(trial.values): trial for trial in one.trials if trial.state == "complete"}
    for trial in other.trials:
        if trial.state == "complete" and json.dumps(trial.values) in same:
            assert same[json.dumps(trial.values)].loss == trial.loss
    assert len(other.trials) == 3
    assert other.best is not None
    resumed = tuned(tmp_path / "other", executor="processes", resume=True, trials=4)
    assert [trial.values for trial in resumed.trials][:3] == [trial.values for trial in other.trials]


def test_what_is_said_is_of_the_trial_that_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    pytest.importorskip("optuna", reason="needs the extra fphi[tune]")
    monkeypatch.setattr("fphi.experiment.running.make_executor", lambda *options: FirstIsLast())
    made = tuned(tmp_path / "out", executor="processes", progress=True, prune_after=9)
    said = [line.partition(":")[0] for line in capsys.readouterr().err.splitlines()]
    assert said[0] == "trial 1 (1/3)"
    assert sorted(line[:8] for line in said) == ["trial 0 ", "trial 1 ", "trial 2 "]
    assert len(made.trials) == 3


def test_a_trial_that_is_behind_is_told_to_stop(tmp_path: Path) -> None:
    """By a file in its folder, which its process looks for at each validation."""
    from fphi.experiment.tuning.side_by_side import _Job, _train

    run = tmp_path / "run"
    options = {"method": "prototypical", **SMALL, "validate_every": 1}
    run.mkdir()
    (run / "stop").write_text("it is behind\n")
    assert _train(_Job(options, run)) is None
    assert len((run / "log.csv").read_text().splitlines()) == 2  # its header, and the first validation
    (run / "stop").unlink()
    result = _train(_Job(options, run))
    assert result is not None
    assert result.step == 5


def test_what_learns_nothing_across_tasks_stays_here(tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="needs the extra fphi[tune]")
    message = "from-scratch learns nothing across tasks: tune it without --executor"
    with pytest.raises(fphi.FphiError, match=message):
        fphi.tune("from-scratch", out=tmp_path / "run", network="mlp", trials=1, executor="processes")
    assert not (tmp_path / "run").exists()


def test_tasks_that_are_an_object_stay_here(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    tasks = fphi.load_tasks("hershey", ways=5, shots=1)
    with pytest.raises(fphi.FphiError, match="stay here; leave executor='processes' out"):
        tuned(tmp_path / "run", tasks=tasks, executor="processes")
    assert "3 workers in one process" in refused(capsys, "evaluate", trained, "--workers", 3)
