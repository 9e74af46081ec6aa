"""The classes of each split travel with a run: whatever its folder gains or loses, none is tested that was trained on."""

import json
import shutil
from pathlib import Path

import pytest

from cli_helpers import SMALL, evaluated, fphi, quietly, refused, save_images, trained
from fphi.experiment.classes import CLASSES
from fphi.experiment.evaluation import EvaluationOptions, evaluate_run
from fphi.experiment.loading import trained_run
from fphi.tasks import FewShotTasks

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on 12 classes, ``run``, beside its data, ``images``."""
    place = tmp_path_factory.mktemp("division")
    images = save_images(place / "images", classes=12, images=4, size=8)
    words = ("--tasks", images, "--ways", 2, "--queries", 1, "--image-size", 16)
    trained(place / "run", *words, method="prototypical", steps=1)
    return place


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "made"))


def classes(run: Path) -> dict[str, list[str]]:
    of: dict[str, list[str]] = json.loads((run / CLASSES).read_text())
    return of


def tasks_of(run: Path, *splits: str, **other: object) -> FewShotTasks:
    tasks = trained_run(run).changed(other).tasks(0, splits or ["test"])
    assert isinstance(tasks, FewShotTasks)
    return tasks


def gain(images: Path, *names: str) -> None:
    for name in names:
        shutil.copytree(images / "c00", images / name)


def test_a_run_keeps_the_classes_of_each_split(place: Path) -> None:
    of = classes(place / "run")
    assert {split: len(names) for split, names in of.items()} == {"train": 8, "validation": 2, "test": 2}
    assert sorted(name for names in of.values() for name in names) == [f"c{c:02d}" for c in range(12)]
    for split, names in of.items():
        assert list(tasks_of(place / "run", split).pool(split).names) == names
        assert tasks_of(place / "run", split).changes == ()


@pytest.mark.parametrize("names", [("b",), ("c04b", "z"), tuple(f"new{i}" for i in range(20))])
def test_classes_that_a_folder_gains_are_left_out(place: Path, names: tuple[str, ...]) -> None:
    gain(place / "images", *names)
    for split, of in classes(place / "run").items():
        tasks = tasks_of(place / "run", split)
        assert list(tasks.pool(split).names) == of
        expected = f"{len(names)} classes came after the training and are left out, such as {min(names)!r}"
        assert tasks.changes == (expected,)


@pytest.mark.parametrize("lost", [0, 3, 7])
def test_what_a_folder_loses_of_the_training_classes_changes_no_test(place: Path, lost: int) -> None:
    of = classes(place / "run")
    shutil.rmtree(place / "images" / of["train"][lost])
    tasks = tasks_of(place / "run")
    assert list(tasks.pool("test").names) == of["test"]
    assert tasks.changes[0].startswith("1 of the classes of split 'train' are gone since the training")


def test_classes_that_come_and_go_make_no_other_number(place: Path, capsys: Capture) -> None:
    words = ("--test-tasks", 5)
    before = evaluated(capsys, place / "run", *words)
    gain(place / "images", "a", "z")
    shutil.rmtree(place / "images" / classes(place / "run")["train"][2])
    assert fphi("evaluate", place / "run", "--json", *words) == 0
    output, errors = capsys.readouterr()
    assert json.loads(output)["accuracy"] == before["accuracy"]
    assert json.loads(output)["loss"] == before["loss"]
    assert errors.count("\n") == 2
    assert "2 classes came after the training and are left out, such as 'a'" in errors


def test_a_test_class_that_is_gone_is_told(place: Path) -> None:
    shutil.rmtree(place / "images" / classes(place / "run")["test"][0])
    tasks = tasks_of(place / "run", "validation")
    assert tasks.changes[0].startswith("1 of the classes of split 'test' are gone since the training")
    with pytest.raises(Exception, match="2 ways from split 'test': there are only 1 classes"):
        tasks_of(place / "run")


def test_other_data_are_tested_without_the_names_that_were_trained_on(place: Path) -> None:
    """A copy of the folder that has gained classes is divided otherwise."""
    copy = Path(shutil.copytree(place / "images", place / "copy"))
    assert tasks_of(place / "run", tasks=str(copy)).changes == ()
    gain(copy, *(f"new{i}" for i in range(20)))
    of = classes(place / "run")
    tasks = tasks_of(place / "run", tasks=str(copy))
    names = set(tasks.pool("test").names)
    assert names
    assert not names & {*of["train"], *of["validation"]}


def test_a_resumed_training_keeps_its_classes(place: Path) -> None:
    before = (place / "run" / CLASSES).read_bytes()
    gain(place / "images", "a", "z")
    options = ("--tasks", place / "images", "--ways", 2, "--queries", 1, "--image-size", 16)
    quietly("train", "prototypical", "--out", place / "run", "--resume", "--steps", 2, *options, *SMALL)
    assert (place / "run" / CLASSES).read_bytes() == before
    whole = trained(place / "whole", *options, method="prototypical", steps=1)
    assert sum(map(len, classes(whole).values())) == 14


def test_runs_that_were_tested_on_other_classes_of_one_folder_are_not_compared(
    place: Path, tmp_path: Path, capsys: Capture
) -> None:
    gain(place / "images", *(f"new{i}" for i in range(12)))
    words = ("--tasks", place / "images", "--ways", 2, "--queries", 1, "--image-size", 16)
    later = trained(place / "later", *words, method="prototypical", steps=1)
    runs = (place / "run", later, shutil.copytree(later, place / "again"))
    for run in runs:
        quietly("evaluate", run, "--test-tasks", 3)
    message = refused(capsys, "compare", *runs[:2])
    assert "tested on different tasks: classes is 2 with 8 images (" in message
    page, table = tmp_path / "page.html", tmp_path / "table.md"
    quietly("compare", *runs, "--html", page, "--markdown", table)
    pairs = table.read_text().split("**Differences")[1]
    assert (pairs.count("±"), pairs.count(" again "), page.read_text().count("Against")) == (1, 1, 1)

    record = runs[2] / "tests" / "2w1s.json"
    before = json.loads(record.read_text())
    del before["classes"]  # of an fphi that did not tell them: they may be the same
    record.write_text(json.dumps(before))
    quietly("compare", runs[0], runs[2])


def test_data_are_told_by_their_full_path(
    place: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    record = evaluated(capsys, place / "run", "--tasks", "images", "--test-tasks", 2)
    assert Path(record["data"]) == place / "images"


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", "3", '{"train": "abc"}', '{"train": [1]}', '{"train": ["a"], "test": ["a"]}',
     '{"test": ["a"], "test": ["b"]}', "[" * 10_000],
)  # fmt: skip
def test_classes_that_were_damaged_are_refused(place: Path, capsys: Capture, content: str) -> None:
    (place / "run" / CLASSES).write_text(content)
    message = refused(capsys, "evaluate", place / "run")
    assert CLASSES in message
    assert message.endswith("; restore it")


def test_a_run_of_before_has_no_such_file(place: Path) -> None:
    (place / "run" / CLASSES).unlink()
    record = evaluate_run(place / "run", EvaluationOptions(test_tasks=2)).record
    assert record["ways"] == 2
