"""Runs whose tasks were given in Python: no command goes on with others in their place."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import fphi
from fphi.errors import FphiError
from fphi.experiment.loading import trained_run
from fphi.experiment.setup import FewShotRun
from fphi.run.meta.training import TrainingResult

QUICK: dict[str, Any] = {
    "meta_batch": 1,
    "validation_tasks": 2,
    "threads": 1,
    "network": "conv4-stride",
}


class Shades(fphi.TaskDistribution):
    """Classes are levels of grey: five of them, two support examples and a query each."""

    protocol = "shades"

    @property
    def splits(self) -> tuple[str, ...]:
        return ("train", "validation", "test")

    def batch(self, split: str, indices: Sequence[int]) -> fphi.Task:
        y = torch.arange(5)
        shades = torch.stack([torch.roll(y, int(index)) for index in indices])
        x = shades[:, :, None, None, None].float().expand(-1, -1, 1, 28, 28) / 5
        labels = y.expand(len(indices), 5)
        return fphi.Task(
            fphi.Examples(torch.cat([x, x], 1), torch.cat([labels, labels], 1)), fphi.Examples(x, labels)
        )


class Otherwise(Shades):
    """Tasks that are made by other rules."""

    protocol = "otherwise"


class Planes(fphi.TaskDistribution):
    """Two numbers are to be told of three, as a linear map says that each task has for itself."""

    protocol = "planes"
    splits = ("train", "validation", "test")
    numbers = 2

    def batch(self, split: str, indices: Sequence[int]) -> fphi.Task:
        tasks = []
        for index in indices:
            draw = torch.Generator().manual_seed(3 * index + self.splits.index(split))
            x = torch.randn(6, 3, generator=draw)
            y = x @ torch.randn(3, self.numbers, generator=draw)
            tasks.append(fphi.Task(fphi.Examples(x[:4], y[:4]), fphi.Examples(x[4:], y[4:])))
        return fphi.stack(tasks)


class Spaces(Planes):
    """Three numbers."""

    numbers = 3


def train(out: Path, **options: Any) -> Any:
    return fphi.train("prototypical", out=out, **{"tasks": Shades(), "steps": 1, **QUICK, **options})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("given") / "run"
    train(out)
    return out


def test_a_run_says_that_its_tasks_were_given(run: Path) -> None:
    assert yaml.safe_load((run / "config.yaml").read_text())["tasks"] == "given in Python"
    assert isinstance(fphi.load(run), fphi.PrototypicalLearner)


def test_without_its_tasks_it_is_not_tested_on_others(run: Path) -> None:
    with pytest.raises(FphiError, match="were given in Python, and it keeps none of them: give them again"):
        fphi.evaluate(run, test_tasks=2)
    with pytest.raises(FphiError, match="give them again"):
        fphi.compare([run], test_tasks=2)
    assert not (run / "tests").exists()


def test_with_its_tasks_it_is_tested_as_its_own(tmp_path: Path) -> None:
    train(tmp_path)
    record = fphi.evaluate(tmp_path, Shades(), test_tasks=2)
    said = (record["protocol"], record["data"], record["ways"], record["shots"])
    assert said == ("shades", "given in Python", 5, 2)
    assert (tmp_path / "tests" / "5w2s.json").is_file()


def test_a_learner_of_so_many_shots_is_built_for_those_of_its_tasks(tmp_path: Path) -> None:
    result = fphi.train("snail", out=tmp_path, tasks=Shades(), steps=1, **QUICK)
    assert isinstance(result, TrainingResult)
    assert fphi.evaluate(tmp_path, Shades(), test_tasks=2)["shots"] == 2


@pytest.mark.parametrize("asked", [{"ways": 3}, {"shots": 20}, {"queries": 4}, {"seed": 7}])
def test_tasks_that_were_given_have_no_other_size_or_seed(run: Path, asked: dict[str, int]) -> None:
    with pytest.raises(FphiError, match=r"the tasks that were given have .* out, or give others"):
        fphi.evaluate(run, Shades(), test_tasks=2, **asked)


def test_tasks_of_another_protocol_are_not_its_own(run: Path) -> None:
    assert fphi.evaluate(run, Otherwise(), test_tasks=2)["protocol"] == "otherwise"
    assert fphi.evaluate(run, "hershey", test_tasks=2)["data"] == "hershey"
    assert not (run / "tests").exists()
    with pytest.raises(FphiError, match="trained on tasks of another protocol than those given"):
        fphi.compare([run], test_tasks=2, tasks=Otherwise())


def test_runs_are_compared_on_the_tasks_that_are_given_again(tmp_path: Path) -> None:
    runs = [tmp_path / name for name in ("one", "two")]
    for number, out in enumerate(runs):
        train(out, seed=number)
    compared = fphi.compare(runs, test_tasks=2, tasks=Shades())
    assert [run.record["protocol"] for run in compared.runs.values()] == ["shades", "shades"]
    assert [pair.tasks for pair in compared.pairs] == [2]
    again = fphi.compare(runs, test_tasks=3)  # whatever sizes these tasks have, they were tested so
    assert [pair.tasks for pair in again.pairs] == [2]


@pytest.mark.parametrize("tasks", [None, Shades()])
def test_a_folder_that_is_no_run_is_told_with_tasks_or_without(tmp_path: Path, tasks: Any) -> None:
    with pytest.raises(FphiError, match="is no run directory"):
        fphi.compare([tmp_path / "nowhere"], tasks=tasks)


def test_it_goes_on_with_its_tasks_and_with_no_others(tmp_path: Path) -> None:
    train(tmp_path, schedule="constant")
    for tasks, message in ((None, "give them again"), ("hershey", "began with tasks given in Python, not")):
        with pytest.raises(FphiError, match=message):
            fphi.train("prototypical", tasks=tasks, out=tmp_path, resume=True, steps=2)
        assert yaml.safe_load((tmp_path / "config.yaml").read_text())["steps"] == 1
    result = fphi.train("prototypical", tasks=Shades(), out=tmp_path, resume=True, steps=2)
    assert isinstance(result, TrainingResult)
    assert result.step == 2


def test_a_run_on_named_data_does_not_go_on_with_given_tasks(tmp_path: Path) -> None:
    train(tmp_path, tasks="hershey")
    with pytest.raises(FphiError, match="began with tasks hershey, not given in Python"):
        fphi.train("prototypical", tasks=Shades(), out=tmp_path, resume=True)


def test_given_tasks_are_used_and_told_whatever_the_configuration_names(run: Path) -> None:
    config = trained_run(run).config
    named = FewShotRun(config).changed({"tasks": "hershey"})
    tasks = Shades()
    given = FewShotRun(named.config, tasks)
    assert given.tasks(0) is tasks
    assert given.options.tasks == "given in Python"


def test_a_method_that_reads_a_stream_gets_given_tasks_in_random_order(tmp_path: Path) -> None:
    fphi.train("lstm", out=tmp_path, tasks=Shades(), steps=1, hidden=8, **QUICK)
    read = FewShotRun(trained_run(tmp_path).config, Shades()).tasks(0).batch("train", range(4))
    assert len({tuple(y) for y in torch.cat([read.support.y, read.query.y], 1).tolist()}) == 4


def test_a_start_of_unknown_classes_is_told(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path, tasks="hershey", start_from=str(run))
    assert "learned from is not known: its tasks were given in Python" in capsys.readouterr().err


def test_a_search_does_not_take_them_in_silence(tmp_path: Path) -> None:
    with pytest.raises(FphiError, match="tasks"):
        fphi.train("random-search", tasks=Shades(), out=tmp_path / "run")


@pytest.mark.parametrize("method", ["maml", "multi-task", "lstm-optimizer"])
def test_a_regression_has_an_output_for_each_number_of_a_target(method: str, tmp_path: Path) -> None:
    few: dict[str, Any] = {"meta_batch": 2, "validation_tasks": 2, "threads": 1, "schedule": "constant"}
    fphi.train(method, tasks=Planes(), out=tmp_path, steps=1, **few)
    tested = fphi.evaluate(tmp_path, Planes(), test_tasks=3)
    support, query = Planes().task("test", 0)
    learner = fphi.load(tmp_path)
    assert isinstance(learner, fphi.LearningAlgorithm)
    assert learner(support, query.x).shape == query.y.shape == (2, 2)
    assert fphi.evaluate(learner, Planes(), count=3).loss == pytest.approx(tested["loss"]["mean"])
    with pytest.raises(FphiError, match=r"answers are \[\d, 2\] and targets \[\d, 3\]"):
        fphi.evaluate(tmp_path, Spaces(), test_tasks=2)
    result = fphi.train(method, tasks=Planes(), out=tmp_path, resume=True, steps=2)
    assert isinstance(result, TrainingResult)
    assert result.step == 2
