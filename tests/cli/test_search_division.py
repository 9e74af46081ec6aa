"""A search keeps the classes that it began with: what its folder gains or loses makes no other search of it."""

import json
import shutil
from pathlib import Path

import pytest

from cli_helpers import contents, fphi, quietly, refused, save_images
from fphi.experiment.classes import CLASSES
from search_helpers import result

Capture = pytest.CaptureFixture[str]
SPACE = ("--space", "nasbench201", "--channels", 2, "--cells", 1, "--control", "false")
FEW_SHOT = (
    *("--few-shot", "prototypical", "--ways", 2, "--queries", 1, "--image-size", 16, "--steps", 1),
    *("--retrain-steps", 1, "--meta-batch", 1, "--validation-tasks", 2, "--test-tasks", 3),
)
LARGE = ("--image-size", 8, "--child-epochs", 1, "--retrain-epochs", 1, "--child-batch-size", 8)


def searched(place: Path, *words: object) -> Path:
    quietly("search", "random-search", *SPACE, *words, "--out", place / "run", "--evaluations", 2)
    return place / "run"


@pytest.fixture(scope="module")
def few_shot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("few-shot")
    images = save_images(place / "images", classes=12, images=4, size=8)
    searched(place, "--tasks", images, *FEW_SHOT)
    return place


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("large")
    images = save_images(place / "images", classes=4, images=10, size=8)
    searched(place, "--data", images, *LARGE)
    return place


def begun_again(made: Path, place: Path) -> Path:
    """As if it had been stopped just before its end."""
    shutil.copytree(made, place, dirs_exist_ok=True)
    (place / "run" / "result.json").unlink()
    return place / "run"


def test_a_few_shot_search_keeps_the_names_of_each_split(few_shot: Path) -> None:
    of = json.loads((few_shot / "run" / CLASSES).read_text())
    assert {split: len(names) for split, names in of.items()} == {"train": 8, "validation": 2, "test": 2}


@pytest.mark.parametrize("changed", ["+b", "+c04b", "+z", "-train"])
def test_a_few_shot_search_goes_on_with_its_own_classes(
    few_shot: Path, tmp_path: Path, changed: str, capsys: Capture
) -> None:
    """The last training and its test are the same, unless a class that it trains on is gone."""
    run = begun_again(few_shot, tmp_path)
    before = result(few_shot / "run")["retrained"]["test_accuracy"]
    if changed[0] == "+":
        shutil.copytree(tmp_path / "images" / "c00", tmp_path / "images" / changed[1:])
    else:
        shutil.rmtree(tmp_path / "images" / json.loads((run / CLASSES).read_text())["train"][0])
    assert fphi("search", "random-search", "--out", run, "--resume") == 0
    errors = capsys.readouterr().err
    if changed[0] == "+":
        assert result(run)["retrained"]["test_accuracy"] == before
        assert f"1 classes came after the training and are left out, such as {changed[1:]!r}" in errors
    else:
        assert "1 of the classes of split 'train' are gone since the training" in errors
    assert (run / CLASSES).read_bytes() == (few_shot / "run" / CLASSES).read_bytes()


@pytest.mark.parametrize("changed", ["+a", "+z", "-c00", "-c03"])
def test_a_search_on_one_large_task_needs_its_own_classes(
    large: Path, tmp_path: Path, changed: str, capsys: Capture
) -> None:
    """With others the candidates of before answered another question."""
    run = begun_again(large, tmp_path)
    if changed[0] == "+":
        shutil.copytree(tmp_path / "images" / "c00", tmp_path / "images" / changed[1:])
    else:
        shutil.rmtree(tmp_path / "images" / changed[1:])
    before = contents(run)
    message = refused(capsys, "search", "random-search", "--out", run, "--resume")
    assert message.startswith("1 classes of ")
    assert message.endswith(f"when this began, such as {changed[1:]!r}; make them so again")
    assert contents(run) == before


@pytest.mark.parametrize("content", ["", "[]", '{"all": "abc"}', '{"all": ["a"], "test": ["a"]}'])
def test_classes_of_a_search_that_were_damaged_are_refused(
    large: Path, tmp_path: Path, content: str, capsys: Capture
) -> None:
    run = begun_again(large, tmp_path)
    (run / CLASSES).write_text(content)
    assert CLASSES in refused(capsys, "search", "random-search", "--out", run, "--resume")
