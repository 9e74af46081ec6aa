"""Runs in Python, by the names of the command line."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import fphi
from fphi.errors import FphiError
from fphi.learnable import LearningAlgorithm, PrototypicalLearner
from fphi.methods import table
from fphi.methods.prototypical import Prototypical
from fphi.run.meta.training import TrainingResult

QUICK: dict[str, Any] = {
    "meta_batch": 2,
    "validation_tasks": 2,
    "log_every": 1,
    "threads": 1,
    "network": "conv4-stride",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "maml"
    fphi.train("maml", out=out, steps=3, **QUICK)
    return out


def test_a_run_trains_tests_and_is_loaded_without_its_data(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = fphi.evaluate(run, test_tasks=4)
    assert record["tasks"] == 4
    assert (run / "tests" / "5w1s.json").is_file()

    def gone(*arguments: object) -> None:
        raise AssertionError("the data were asked for")

    monkeypatch.setattr("fphi.tasks.options.load_pool", gone)
    learner = fphi.load(run)
    assert isinstance(learner, LearningAlgorithm)
    assert not learner.training
    x, y = torch.rand(5, 1, 28, 28), torch.arange(5)
    assert learner(fphi.Examples(x, y), x).shape == (5, 5)


def test_a_method_with_its_options_is_trained_and_its_options_are_kept(tmp_path: Path) -> None:
    method = Prototypical(network="conv4-stride", train_ways=4, train_queries=2)
    result = fphi.train(method, out=tmp_path / "run", steps=2, meta_batch=1, validation_tasks=2)
    assert isinstance(result, TrainingResult)
    assert (result.step, result.interrupted) == (2, False)
    assert "train_ways: 4" in (tmp_path / "run" / "config.yaml").read_text()
    assert isinstance(fphi.load(tmp_path / "run"), PrototypicalLearner)


@dataclass(frozen=True)
class Own(Prototypical):
    """A method that is in no table."""


def test_a_class_of_ones_own_needs_no_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        table._TABLE, "entries", dict(table.methods())
    )  # it is entered, and no other test meets it
    fphi.train(Own, out=tmp_path, steps=1, meta_batch=1, validation_tasks=2, network="conv4-stride")
    assert fphi.evaluate(tmp_path, test_tasks=2)["method"] == "Own"


def test_a_run_that_has_ended_goes_on_with_more_steps(tmp_path: Path) -> None:
    once, twice = tmp_path / "once", tmp_path / "twice"
    fphi.train("maml", out=once, steps=4, schedule="constant", **QUICK)
    fphi.train("maml", out=twice, steps=2, schedule="constant", **QUICK)
    fphi.train("maml", out=twice, steps=4, resume=True)
    first, second = (fphi.load(out).state_dict() for out in (once, twice))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_that_has_not_ended_keeps_its_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as stopping:
        stopping.setattr("fphi.run.disk.interrupt.Interrupt.requested", True)
        result = fphi.train("maml", out=tmp_path, steps=4, **QUICK)
    assert isinstance(result, TrainingResult)
    assert result.interrupted
    with pytest.raises(FphiError, match=r"has done 1 of 4 steps; resume it without --steps first"):
        fphi.train("maml", out=tmp_path, steps=8, resume=True)


def test_time_that_is_up_ends_a_training_with_a_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter(range(10_000))
    monkeypatch.setattr("fphi.run.meta.loop.time.monotonic", lambda: float(next(seconds)))
    result = fphi.train("maml", out=tmp_path, steps=1000, max_time="20s", **QUICK)
    assert isinstance(result, TrainingResult)
    assert (result.step < 1000, result.interrupted, result.best_step is not None) == (True, False, True)
    assert fphi.evaluate(tmp_path, test_tasks=2)["tasks"] == 2


def test_the_first_validation_comes_early(tmp_path: Path) -> None:
    fphi.train("maml", out=tmp_path, steps=40, validate_every=30, **{**QUICK, "log_every": 100})
    rows = [line.split(",") for line in (tmp_path / "log.csv").read_text().splitlines()[1:]]
    assert [row[0] for row in rows if row[2]] == ["2", "30", "40"]


def test_loggers_are_told_of_every_row(tmp_path: Path) -> None:
    told: list[tuple[int | None, dict[str, float]]] = []

    class Logger:
        def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
            told.append((step, metrics))

    fphi.train("maml", out=tmp_path, steps=2, loggers=[Logger()], **QUICK)
    assert [step for step, _ in told] == [1, 2]
    assert told[-1][1].keys() == {
        *("train_loss", "validation_accuracy", "validation_loss", "learning_rate", "seconds"),
    }


def test_a_distribution_of_ones_own_is_trained_on(tmp_path: Path) -> None:
    tasks = fphi.load_tasks("hershey", ways=3, shots=1)
    fphi.train("maml", tasks=tasks, out=tmp_path, ways=3, steps=1, **QUICK)
    assert fphi.evaluate(tmp_path, tasks, test_tasks=2)["ways"] == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stepz": 3}, "stepz"),
        ({"steps": "x"}, "--steps is 'x'; it must be a whole number"),
        ({"max_time": "soon"}, "max_time is 'soon'; give a duration such as 90s, 10m or 2h"),
        ({"space": "cells"}, "maml searches nothing; leave --space and --few-shot out"),
    ],
)
def test_a_wrong_option_is_told(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(FphiError, match=message):
        fphi.train("maml", out=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()
