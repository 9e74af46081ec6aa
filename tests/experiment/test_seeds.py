"""Many seeds as one command: the same runs as one by one, side by side, resumed as a whole."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

import fphi
from cli_helpers import fphi as command
from cli_helpers import refused
from fphi.experiment import seeds as module
from fphi.experiment.seeds import seeds_in, train_seeds
from fphi.report.seed_runs import SeedRun, SeedRuns
from fphi.run.meta.training import TrainingResult

SMALL: dict[str, Any] = {
    "steps": 2, "meta_batch": 1, "validation_tasks": 2, "train_ways": 5, "network": "mlp", "threads": 1,
}  # fmt: skip


def parameters(run: Path) -> bytes:
    return (run / "best.safetensors").read_bytes()


def test_they_are_the_runs_that_each_seed_has_by_itself(tmp_path: Path) -> None:
    runs = train_seeds("prototypical", 2, out=tmp_path / "many", workers=1, seed=3, **SMALL)
    assert [run.seed for run in runs.runs] == [3, 4]
    assert not runs.stopped
    for run in runs.runs:
        alone = fphi.train("prototypical", out=tmp_path / f"alone-{run.seed}", seed=run.seed, **SMALL)
        assert isinstance(alone, TrainingResult)
        assert parameters(tmp_path / "many" / f"seed-{run.seed}") == parameters(
            tmp_path / f"alone-{run.seed}"
        )
        assert run.numbers["validation accuracy"] == alone.validation_accuracy
    assert parameters(tmp_path / "many" / "seed-3") != parameters(tmp_path / "many" / "seed-4")


def test_further_seeds_begin_and_those_that_have_ended_are_not_repeated(tmp_path: Path) -> None:
    first = train_seeds("prototypical", 1, out=tmp_path, workers=1, **SMALL)
    before = (tmp_path / "seed-0" / "best.safetensors").stat().st_mtime_ns
    with pytest.raises(fphi.FphiError, match="already holds a run"):
        train_seeds("prototypical", 2, out=tmp_path, workers=1, **SMALL)
    both = train_seeds("prototypical", 2, out=tmp_path, workers=1, resume=True, **SMALL)
    assert (tmp_path / "seed-0" / "best.safetensors").stat().st_mtime_ns == before
    assert [run.seed for run in both.runs] == [0, 1]
    assert both.runs[0].numbers["validation loss"] == first.runs[0].numbers["validation loss"]


def test_tasks_that_are_an_object_are_refused(tmp_path: Path) -> None:
    tasks = fphi.load_tasks("hershey", ways=5, shots=1)
    with pytest.raises(fphi.FphiError, match="stay in this process: name them"):
        train_seeds("prototypical", 2, out=tmp_path, tasks=tasks, **SMALL)
    assert not list(tmp_path.iterdir())


def test_a_seed_that_fails_leaves_the_others_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = module._train

    def broken(job: Any) -> dict[str, float]:
        if job.seed == 1:
            raise fphi.FphiError("it diverged")
        return train(job)

    monkeypatch.setattr(module, "_train", broken)
    runs = train_seeds("prototypical", 2, out=tmp_path, workers=1, **SMALL)
    assert [run.failure for run in runs.runs] == ["", "it diverged"]
    assert runs.table().body[1][-1] == "it diverged"
    assert runs.table().body[2][0] == "mean of 1 of 2"
    found = runs.to_json()
    assert (found["ended"], found["failed"], found["mean"]["validation loss"]["runs"]) == (1, 1, 1)
    with pytest.raises(fphi.FphiError, match="none of 1 runs came to its end; the first failed: it diverged"):
        train_seeds("prototypical", 1, out=tmp_path / "other", workers=1, seed=1, **SMALL)


def test_a_signal_is_a_pause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first; the others go on later, as they would have."""
    train = module._train

    def stopping(job: Any) -> dict[str, float]:
        numbers = train(job)
        signal.raise_signal(signal.SIGTERM)
        return numbers

    monkeypatch.setattr(module, "_train", stopping)
    runs = train_seeds("prototypical", 2, out=tmp_path, workers=1, **SMALL)
    assert runs.stopped
    assert [run.seed for run in runs.runs] == [0]
    monkeypatch.setattr(module, "_train", train)
    runs = train_seeds("prototypical", 2, out=tmp_path, workers=1, resume=True, **SMALL)
    assert [run.seed for run in runs.runs] == [0, 1]


def test_the_mean_over_seeds_has_students_interval() -> None:
    runs = SeedRuns("maml", tuple(SeedRun(i, {"validation accuracy": 0.9 + i / 100}) for i in range(5)))
    mean, ci95 = runs.interval("validation accuracy")
    assert mean == pytest.approx(0.92)
    assert ci95 == pytest.approx(2.7764451 * 0.0158114 / 5**0.5, rel=1e-5)
    assert runs.table().body[-1] == ("mean", "92.00 % ± 1.96 %")
    single = SeedRuns("maml", runs.runs[:1])
    assert single.table().body[-1] == ("mean", "90.00 %")
    assert single.to_json()["mean"]["validation accuracy"] == {"mean": 0.9, "ci95": None, "runs": 1}
    some = SeedRuns("darts", (*runs.runs[:1], SeedRun(1, {"seconds": 2.0})))
    assert some.table().body[-1] == ("mean", "90.00 % (of 1)", "2 (of 1)")


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    small = [word for key, value in SMALL.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    begin = ["train", "prototypical", *small, "--workers", "1", "--out", "many"]
    resume = ["train", "prototypical", "--workers", "1", "--out", "many", "--resume"]

    assert command(*begin, "--seeds", 2, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [run["seed"] for run in found["runs"]] == [0, 1]
    assert json.loads(Path("many/seeds.json").read_text()) == [0, 1]
    assert command(*resume, "--json") == 0
    again = json.loads(capsys.readouterr().out)
    assert again["mean"]["validation loss"] == found["mean"]["validation loss"]
    assert command(*resume) == 0
    assert "mean" in capsys.readouterr().out

    assert "give --seeds, or leave it out" in refused(capsys, *begin, "--executor", "processes")
    Path("many/seeds.json").write_text("{}")
    assert "is damaged: it has to be a list of seeds" in refused(capsys, *resume)


def test_the_command_fails_where_a_run_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    train_seeds("prototypical", 2, out="many", workers=1, **SMALL)
    os.truncate("many/seed-1/last.safetensors", 1000)
    assert command("train", "prototypical", "--workers", 1, "--out", "many", "--resume") == 1
    output = capsys.readouterr().out
    assert "mean of 1 of 2" in output
    assert "is damaged" in output


def test_a_refused_option_leaves_room_for_the_mended_one(tmp_path: Path) -> None:
    with pytest.raises(fphi.FphiError, match="none of 2 runs came to its end"):
        train_seeds("prototypical", 2, out=tmp_path, workers=1, train_classes=3, **SMALL)
    assert not list(tmp_path.rglob("*.json")) + list(tmp_path.rglob("*.yaml"))
    assert train_seeds("prototypical", 2, out=tmp_path, workers=1, **SMALL).ended == 2


def test_seeds_may_be_negative_and_none_is_forgotten(tmp_path: Path) -> None:
    train_seeds("prototypical", 3, out=tmp_path, workers=1, seed=-1, **SMALL)
    runs = train_seeds("prototypical", 1, out=tmp_path, workers=1, resume=True, **SMALL)
    assert [run.seed for run in runs.runs] == [-1, 0, 1]
    assert seeds_in(tmp_path) == (-1, 0, 1)


def test_a_search(tmp_path: Path) -> None:
    options: dict[str, Any] = {"evaluations": 1, "train_examples": 40, "validation_examples": 20}
    options |= {"test_examples": 20, "retrain_epochs": 1, "child": {"epochs": 1}}
    runs = train_seeds("random-search", 2, out=tmp_path, workers=1, **options)
    assert "test accuracy" in runs.names
    assert (tmp_path / "seed-1" / "result.json").is_file()
