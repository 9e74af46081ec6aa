"""Trainings with learned weights of examples, from the command line and from Python."""

import csv
import io
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file

import fphi as package
from cli_helpers import fphi, quietly, refused, save_images
from fphi.errors import DataError, FphiError
from fphi.experiment.config import written_fingerprint
from fphi.experiment.search.options import DataOptions
from fphi.experiment.weighting.options import ExampleOptions
from fphi.experiment.weighting.standing import read_standing, save_standing
from fphi.report.seed_runs import SeedRun, SeedRuns
from fphi.report.tables import points
from fphi.report.weighting import (
    WeightPicture,
    advice,
    advice_over_seeds,
    draw_weights,
    read_weighting,
    weighting_summary,
)
from fphi.run.disk.files import read_sealed
from fphi.tasks import load_folder
from fphi.tasks.clean import load_clean
from fphi.tasks.corruption import corrupted
from fphi.tasks.supervised import load_supervised
from fphi.within.trained import accuracy

Capture = pytest.CaptureFixture[str]
DATA = (
    *("--train-examples", 120, "--validation-examples", 40, "--clean-examples", 20),
    *("--test-examples", 60, "--batch-size", 30),
)
TWO = ("--classes", "[4,9]", "--clean-examples", 10)
TINY = (*DATA, "--epochs", 2, "--folds", 2)
NAMES = ["plain", "fold 1", "fold 2", "cleaned"]
LASTING = ("best.safetensors", "issues.csv", "weights.png")


def result_of(out: Path) -> dict[str, Any]:
    """Without the seconds, and the command."""
    result: dict[str, Any] = json.loads((out / "result.json").read_text("utf-8"))
    del result["command"]
    for record in result["trainings"].values():
        del record["seconds"]
    return result


def log_of(out: Path) -> list[dict[str, str]]:
    with (out / "log.csv").open(newline="", encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def issues_of(out: Path) -> list[dict[str, str]]:
    with (out / "issues.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def require_same(first: Path, second: Path) -> None:
    for name in LASTING:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    assert result_of(first) == result_of(second)
    assert log_of(first) == log_of(second)


def plainly(name: str, picture: WeightPicture) -> bytes:
    """What is drawn, in place of the drawing."""
    wrong = None if picture.wrong is None else picture.wrong.tolist()
    return repr((name, picture.losses.tolist(), picture.weights.tolist(), wrong, picture.curve)).encode()


@pytest.fixture(scope="module", autouse=True)
def undrawn() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fphi.experiment.weighting.result.draw_weights", plainly)
        yield


@pytest.fixture(scope="module", params=["reweight", "meta-weight-net"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A method, and an undisturbed run of it."""
    out = tmp_path_factory.mktemp("whole") / "run"
    quietly("train", request.param, "--out", out, *TINY)
    return request.param, out


def test_a_run_has_all_trainings_one_after_the_other(whole: tuple[str, Path]) -> None:
    method, out = whole
    result, rows = read_weighting(out / "result.json"), log_of(out)
    assert [row["training"] for row in rows] == [name for name in [*NAMES, method] for _ in range(2)]
    assert [row["test_accuracy"] == "" for row in rows] == [row["training"][:4] == "fold" for row in rows]
    assert list(result["trainings"]) == ["plain", "cleaned", method]
    for name, record in result["trainings"].items():
        tests = [float(row["test_accuracy"]) for row in rows if row["training"] == name]
        assert record["test_accuracy"] == tests[-1]
        assert (record["best_test_accuracy"], record["best_epoch"]) == (
            max(tests),
            1 + tests.index(max(tests)),
        )
        assert record["chosen_test_accuracy"] == tests[record["chosen_epoch"] - 1]
    assert (result["curve"] is None) == (method == "reweight")


def test_the_network_is_loaded_as_it_was_tested(whole: tuple[str, Path]) -> None:
    method, out = whole
    module = package.load(out)
    images = torch.randint(256, (2, 1, 8, 8), dtype=torch.uint8)
    standardise, inner = package.load(out, images=True).children()
    assert torch.equal(inner(standardise(images)), module(standardise(images)))
    assert standardise(images).std() > 0.1
    assert not module.training
    data = load_supervised("digits", train=120, validation=60, test=60)
    assert accuracy(module, data.test) == result_of(out)["trainings"][method]["test_accuracy"]


def test_issues_are_listed_most_suspicious_first_with_what_is_known_of_them(whole: tuple[str, Path]) -> None:
    method, out = whole
    rows, result = issues_of(out), result_of(out)
    suspicion = [float(row["suspicion"]) for row in rows]
    assert suspicion == sorted(suspicion, reverse=True)
    data = load_supervised("digits", train=120, validation=60, test=60)
    made = corrupted(data, "uniform", 0.4)
    assert data.rows is not None
    known = {
        int(n): (int(y), int(w)) for n, y, w in zip(data.rows, made.data.train.y, made.wrong, strict=True)
    }
    assert {int(row["example"]): (int(row["label"]), int(row["wrong"])) for row in rows} == known
    assert result["wrong_labels"] == int(made.wrong.sum()) > 0
    found = result["trainings"][method]["issues"]
    doubted = [row for row in rows if row["doubted"] == "1"]
    assert (found["found"], found["found_wrong"]) == (len(doubted), sum(int(r["wrong"]) for r in doubted))
    above = [
        (a > b) + 0.5 * (a == b)
        for a, first in zip(suspicion, rows, strict=True)
        for b, second in zip(suspicion, rows, strict=True)
        if first["wrong"] == "1" and second["wrong"] == "0"
    ]
    assert found["auroc"] == pytest.approx(sum(above) / len(above), rel=1e-12)
    cleaned = result["trainings"]["cleaned"]["issues"]
    assert cleaned["found"] == sum(int(row["cleaned_away"]) for row in rows)


def test_labels_that_a_longer_training_doubts_are_mostly_wrong(tmp_path: Path) -> None:
    quietly("train", "reweight", "--out", tmp_path, *DATA, "--epochs", 20, "--control", "false")
    found = result_of(tmp_path)["trainings"]["reweight"]["issues"]
    doubted = [row["wrong"] for row in issues_of(tmp_path) if row["doubted"] == "1"]
    assert (found["found"], found["found_wrong"]) == (len(doubted), doubted.count("1"))
    assert found["found_wrong"] > 0.7 * found["found"] > 10


def test_the_method_is_the_same_with_controls_and_without(whole: tuple[str, Path], tmp_path: Path) -> None:
    method, out = whole
    without_folds = [word for i, word in enumerate(TINY) if "--folds" not in TINY[max(0, i - 1) : i + 1]]
    quietly("train", method, "--out", tmp_path, *without_folds, "--control", "false")
    assert list(result_of(tmp_path)["trainings"]) == [method]
    first, second = (load_file(folder / "best.safetensors") for folder in (out, tmp_path))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert "cleaned_away" not in issues_of(tmp_path)[0]


class Gone(BaseException):
    """The process is no more."""


@contextmanager
def killed(number: int) -> Iterator[None]:
    """The process is gone when file ``number`` is about to be put in its place."""
    numbers, replace = count(1), os.replace

    def dying(source: Path, target: Path) -> None:
        if next(numbers) >= number:
            raise Gone
        replace(source, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fphi.run.disk.files.os.replace", dying)
        with pytest.raises(Gone):
            yield


# Files: command, config; two for each of ten epochs; network, log, issues, picture, result.
@pytest.mark.parametrize("number", [3, 4, 5, 8, 11, 14, 18, 20, 22, 23, 27])
@pytest.mark.parametrize("whole", ["meta-weight-net"], indirect=True)
def test_a_run_that_was_killed_goes_on_to_the_same_bytes(
    number: int, whole: tuple[str, Path], tmp_path: Path
) -> None:
    method, out = whole
    with killed(number):
        fphi("train", method, "--out", tmp_path, *TINY)
    quietly("train", method, "--out", tmp_path, "--resume")
    require_same(out, tmp_path)


@pytest.mark.parametrize("whole", ["reweight"], indirect=True)
def test_a_run_that_is_stopped_after_every_epoch_comes_to_the_same_bytes(
    whole: tuple[str, Path], tmp_path: Path, capsys: Capture
) -> None:
    method, out = whole
    first: tuple[object, ...] = ("train", method, "--out", tmp_path, *TINY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fphi.run.disk.interrupt.Interrupt.requested", True)
        assert fphi(*first) == 130
        said = capsys.readouterr().err.splitlines()[-1]
        assert said == (
            f"stopped after 1 of 2 epochs of the training 'plain'; go on with: "
            f"fphi train {method} --out {tmp_path} --resume"
        )
        for _ in range(9):
            assert fphi("train", method, "--out", tmp_path, "--resume") == 130
    quietly("train", method, "--out", tmp_path, "--resume")
    require_same(out, tmp_path)


@pytest.mark.parametrize("whole", ["reweight"], indirect=True)
def test_a_run_goes_on_whatever_options_a_later_fphi_has(whole: tuple[str, Path], tmp_path: Path) -> None:
    """One of them stands for an option that there was not yet when the run began."""
    method, out = whole
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fphi.run.disk.interrupt.Interrupt.requested", True)
        assert fphi("train", method, "--out", tmp_path, *TINY) == 130
    lines = (tmp_path / "config.yaml").read_text().splitlines(keepends=True)
    earlier = "".join(line for line in lines if not line.startswith("weight_decay:"))
    assert earlier != "".join(lines)
    (tmp_path / "config.yaml").write_text(earlier)
    content: Any = read_sealed(tmp_path / "last.safetensors")[1]
    standing = read_standing(tmp_path / "last.safetensors", content["fingerprint"])
    data = content["fingerprint"].split()[1]
    save_standing(tmp_path / "last.safetensors", standing, f"{written_fingerprint(tmp_path)} {data}")
    quietly("train", method, "--out", tmp_path, "--resume")
    assert (result_of(tmp_path), log_of(tmp_path)) == (result_of(out), log_of(out))


def test_a_checkpoint_of_before_there_was_a_doubt_is_refused(
    whole: tuple[str, Path], tmp_path: Path, capsys: Capture
) -> None:
    method, out = whole
    shutil.copytree(out, tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    path = tmp_path / "run" / "last.safetensors"
    content: Any = read_sealed(path)[1]
    standing = read_standing(path, content["fingerprint"])
    del standing.going["objective"]["probabilities"]
    save_standing(path, standing, content["fingerprint"])
    said = refused(capsys, "train", method, "--out", tmp_path / "run", "--resume")
    assert "is of an earlier fphi, which did not keep what labels are doubted by; go on with that one" in said


def test_an_ended_run_is_shown_again(whole: tuple[str, Path], capsys: Capture) -> None:
    method, out = whole
    before = (out / "result.json").read_bytes()
    assert fphi("train", method, "--out", out, "--resume", "--json") == 0
    assert json.loads(capsys.readouterr().out) == json.loads(before)
    assert (out / "result.json").read_bytes() == before


@pytest.mark.parametrize("whole", ["reweight"], indirect=True)
def test_commands_that_do_not_fit_say_what_does(whole: tuple[str, Path], capsys: Capture) -> None:
    method, out = whole
    for command in ("evaluate", "compare", "draw"):
        assert "what it reached is in its result.json, and fphi.load gives its network" in refused(
            capsys, command, out
        )
    assert "holds no architecture" in refused(capsys, "build", out)
    assert refused(capsys, "tune", method) == (
        f"{method} is no few-shot method, which tune takes: choose maml, say"
    )
    assert "already holds a run" in refused(capsys, "train", method, "--out", out, *TINY)
    assert "began with lr 0.05, not 0.1" in refused(
        capsys, "train", method, "--out", out, "--resume", "--lr", 0.1
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--clean-examples", 9), r"--clean-examples is 9: digits has 10 classes, each of which needs one"),
        (("--clean-examples", 288), r"288 examples are set apart, of which one at least is for validation"),
        (("--classes", "[4,4]"), r"classes 4, 4 of digits: give at least two different ones of its 10"),
        (("--classes", "[4,10]"), r"classes 4, 10 of digits"),
        (
            ("--class-examples", "[4,9]"),
            r"--class-examples \[4, 9\]: counts of 2 classes, and digits has 10; give one for each",
        ),
        (
            (*TWO, "--class-examples", "[4,900]"),
            r"--class-examples \[4, 900\]: 900 training examples of class 1 of digits",
        ),
        ((*TWO, "--class-examples", "[0,5]"), r"--class-examples is 0; it must be at least 1"),
        (("--clean", "checked", "--clean-examples", 5), r"--clean-examples 5 and --clean checked, whose"),
        (
            ("--imbalance", 2, "--class-examples", "[4,9]"),
            r"--imbalance 2 and --class-examples \[4, 9\]: give",
        ),
        ((*TWO, "--noise", "flip2"), r"labels of 2 classes cannot flip to 2 others"),
        (("--share", 1.5), r"--share is 1.5; it must be at most 1"),
        (("--folds", 1), r"--folds is 1; it must be at least 2"),
        (("--network", "vgg"), r"--network is 'vgg'; choose one of auto"),
        (("--data", "nothing"), r"data 'nothing' are neither digits"),
        (("--space", "darts"), r"reweight searches nothing"),
        (("--epochs", 2, "--limit-seconds", 1e-9), r"the training 'plain' took longer than --limit-seconds"),
        (
            ("--epochs", 1, "--lr", 999, "--clip-norm", "null"),
            r"the training 'plain' diverged: .* smaller --lr",
        ),
    ],
)
def test_what_cannot_be_is_said_in_a_line(
    words: tuple[object, ...], message: str, tmp_path: Path, capsys: Capture
) -> None:
    assert fphi("train", "reweight", "--out", tmp_path / "run", *words) == 2
    assert re.search(message, capsys.readouterr().err.splitlines()[-1])


def test_a_network_of_ones_own_is_named_wherever_it_runs(tmp_path: Path, capsys: Capture) -> None:
    own, out = tmp_path / "own.py", tmp_path / "run"
    own.write_text(
        "from torch import nn\n"
        "def net(shape, classes):\n"
        "    parts = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(), nn.Flatten()\n"
        "    return nn.Sequential(*parts, nn.Linear(144, classes))\n"
        "def wrong(shape, classes):\n    return nn.Flatten()\n",
        encoding="utf-8",
    )
    words = (*DATA, "--epochs", 2, "--control", "false")
    assert "answers 2 examples with [2, 64]; digits needs [2, 10]" in refused(
        capsys, "train", "reweight", "--out", out, *words, "--network", f"{own}:wrong"
    )
    named = ("--network", f"{own}:net")
    quietly("train", "reweight", "--out", tmp_path / "whole", *words, *named)
    with killed(5):
        fphi("train", "reweight", "--out", out, *words, *named)
    capsys.readouterr()
    assert "runs only when you name it" in refused(capsys, "train", "reweight", "--out", out, "--resume")
    quietly("train", "reweight", "--out", out, "--resume", *named)
    assert (out / "issues.csv").read_bytes() == (tmp_path / "whole" / "issues.csv").read_bytes()
    both = [package.load(folder, network=f"{own}:net").state_dict() for folder in (out, tmp_path / "whole")]
    assert all(torch.equal(both[0][name], both[1][name]) for name in both[0])


def test_tasks_are_no_data_of_it(tmp_path: Path) -> None:
    tasks = package.load_tasks("hershey")
    with pytest.raises(FphiError, match="reweight trains on one large task"):
        package.train("reweight", out=tmp_path / "run", tasks=tasks)


def test_python_takes_the_same_options(tmp_path: Path) -> None:
    result = package.train(
        "reweight",
        out=tmp_path,
        classes=(4, 9),
        class_examples=(5, 80),
        clean_examples=10,
        validation_examples=20,
        test_examples=50,
        noise="none",
        epochs=1,
        control=False,
    )
    assert isinstance(result, dict)
    assert (result["class_count"], result["training_examples"], result["wrong_labels"]) == (2, 85, None)
    assert [row["label"] for row in issues_of(tmp_path)].count("0") == 5
    assert "wrong" not in issues_of(tmp_path)[0]
    assert package.load(tmp_path)(torch.zeros(3, 1, 8, 8)).shape == (3, 2)


def test_clean_and_validation_examples_are_right_and_apart() -> None:
    options = ExampleOptions(clean_examples=20, noise="flip", share=1.0, seed=3)
    task = options.load(DataOptions(train_examples=200, validation_examples=30))
    assert task.clean.y.bincount().tolist() == [2] * 10
    assert (len(task.data.validation.y), len(task.data.train.y)) == (30, 200)
    assert task.wrong is not None
    assert task.wrong.all()
    held = load_supervised("digits", train=200, validation=50, seed=3).validation
    assert torch.equal(torch.cat([task.clean.y, task.data.validation.y]), held.y)
    assert torch.equal(torch.cat([task.clean.x, task.data.validation.x]), held.x)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Images of three classes, and others of them that somebody has looked at."""
    data = save_images(tmp_path / "data", 3, 20, 8)
    (tmp_path / "data" / "c01" / "more.txt").write_text("no image", encoding="utf-8")
    clean = save_images(tmp_path / "checked", 3, 10, 8)
    for path in clean.glob("*/*.png"):  # others than those of the data
        ImageOps.invert(Image.open(path)).save(path)
    return data, clean


def test_a_folder_of_ones_own_has_clean_examples_beside_it(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    data, clean = folders
    out = tmp_path / "run"
    words = ("--noise", "none", "--image-size", 8, "--epochs", 1, "--folds", 2)
    quietly("train", "reweight", "--data", data, "--clean", clean, "--out", out, *words)
    result = result_of(out)
    assert (result["training_examples"], result["validation_examples"], result["test_examples"]) == (
        48,
        6,
        12,
    )
    rows = issues_of(out)
    listed = sorted(f"{c}/{path.name}" for c in ("c00", "c01", "c02") for path in (data / c).glob("*.png"))
    names = {int(row["example"]): (row["file"], row["label"]) for row in rows}
    assert {name for name, _ in names.values()} < set(listed)
    assert all(name.startswith(f"{label}/") for name, label in names.values())
    assert package.load(out)(torch.zeros(1, 1, 8, 8)).shape == (1, 3)
    config = (out / "config.yaml").read_text("utf-8")
    assert "clean: ../checked" in config


def test_a_run_does_not_go_on_with_other_images(
    folders: tuple[Path, Path], tmp_path: Path, capsys: Capture
) -> None:
    """As many as before, but one of them another."""
    data, clean = folders
    (data / "c01" / "more.txt").unlink()
    words = ("train", "reweight", "--data", data, "--clean", clean, "--control", "false")
    out = tmp_path / "run"
    quietly(*words, "--noise", "none", "--image-size", 8, "--epochs", 2, "--out", out)
    (out / "result.json").unlink()
    quietly("train", "reweight", "--out", out, "--resume")
    (out / "result.json").unlink()
    changed = next((data / "c02").glob("*.png"))
    ImageOps.invert(Image.open(changed)).save(changed)
    assert "other data" in refused(capsys, "train", "reweight", "--out", out, "--resume")


def test_clean_images_are_not_trained_or_tested_on_besides(
    folders: tuple[Path, Path], tmp_path: Path, capsys: Capture
) -> None:
    """Copies of some images that were looked at: those to train on count once, those to test on are refused."""
    data, clean = folders
    loaded = load_supervised(str(data), image_size=8, validation=0)
    assert loaded.rows is not None
    trained = {loaded.files[row] for row in loaded.rows.tolist()}
    copies = sorted(name for name in trained if name.startswith("c00/"))[:3]
    for i, name in enumerate(copies):
        shutil.copy(data / name, clean / "c00" / f"copy{i}.png")
    words = ("train", "reweight", "--data", data, "--clean", clean, "--control", "false")
    more = ("--noise", "none", "--image-size", 8, "--epochs", 1)
    quietly(*words, *more, "--out", tmp_path / "run")
    result = result_of(tmp_path / "run")
    # A fifth of 33 is for validation.
    assert (result["training_examples"], result["clean_examples"]) == (48 - 3, 33 - 6)
    assert not {row["file"] for row in issues_of(tmp_path / "run")} & set(copies)
    tested = sorted({f"c00/{path.name}" for path in (data / "c00").glob("*.png")} - trained)
    shutil.copy(data / tested[0], clean / "c00" / "tested.png")
    assert "1 test images of" in refused(capsys, *words, *more, "--out", tmp_path / "other")


def test_a_rare_class_of_a_folder_keeps_its_clean_images(tmp_path: Path) -> None:
    """Each class gives validation its share, and none its last image."""
    data, clean = save_images(tmp_path / "data", 2, 20, 8), save_images(tmp_path / "checked", 2, 30, 8)
    for path in clean.glob("*/*.png"):  # others than those of the data
        ImageOps.invert(Image.open(path)).save(path)
    for path in sorted((clean / "c01").glob("*.png"))[2:]:
        path.unlink()
    for wanted, counts in ((None, [6]), (10, [9, 1]), (28, [27, 1]), (30, [29, 1])):
        options = DataOptions(data=str(data), image_size=8, validation_examples=wanted)
        task = ExampleOptions(clean=str(clean), noise="none").load(options)
        assert task.data.validation.y.bincount().tolist() == counts
        left = [30 - counts[0], 2 - sum(counts[1:])]
        assert task.clean.y.bincount().tolist() == left


def test_clean_examples_of_a_folder_are_the_images_on_the_scale_of_the_data(
    folders: tuple[Path, Path],
) -> None:
    data, clean = folders
    loaded = load_supervised(str(data), image_size=8, validation=0)
    x, y = load_clean(clean, loaded, image_size=8, seed=1)
    assert loaded.levels is not None
    mean, deviation = loaded.levels
    raw = {(x * deviation + mean).round().byte().numpy().tobytes(): int(k) for x, k in zip(x, y, strict=True)}
    pool = load_folder(clean, 8)
    expected = {image.tobytes(): i // 10 for i, image in enumerate(pool.images)}
    assert raw == expected
    assert sorted(y[:3].tolist()) == [0, 1, 2]
    assert len(loaded.validation.y) == 0


def test_clean_folders_that_do_not_fit_are_refused(
    folders: tuple[Path, Path], tmp_path: Path, capsys: Capture
) -> None:
    data, clean = folders
    words = (
        "train",
        "reweight",
        "--data",
        data,
        "--noise",
        "none",
        "--out",
        tmp_path / "r",
        "--image-size",
        8,
    )
    assert "there is no folder" in refused(capsys, *words, "--clean", tmp_path / "none")
    assert "30 of 30 images" in refused(capsys, *words, "--clean", clean, "--validation-examples", 30)
    (clean / "c01").rename(clean / "other")
    assert "has no class 'other'" in refused(capsys, *words, "--clean", clean)
    shutil.rmtree(clean / "other")
    assert f"{clean} has no class 'c01'" in refused(capsys, *words, "--clean", clean)
    digits = save_images(tmp_path / "digits", 10, 2, 8)
    for folder in sorted(digits.iterdir()):
        folder.rename(digits / str(int(folder.name[1:])))
    assert "of 20 images" in refused(
        capsys, "train", "reweight", "--clean", digits, "--out", tmp_path / "r", "--validation-examples", 11
    )


def test_some_classes_of_data_without_names_are_found_by_their_numbers(tmp_path: Path) -> None:
    """4 and 9 of the digits are the classes 0 and 1 of the problem, and folders of these names beside it."""
    digits = save_images(tmp_path / "digits", 10, 2, 8)
    for folder in sorted(digits.iterdir()):
        if int(folder.name[1:]) in (4, 9):
            folder.rename(digits / str(int(folder.name[1:])))
        else:
            shutil.rmtree(folder)
    loaded = load_supervised("digits", classes=(4, 9), validation=0)
    _, y = load_clean(digits, loaded, image_size=8, numbers=(4, 9))
    assert sorted(y.tolist()) == [0, 0, 1, 1]
    with pytest.raises(DataError, match="has no class '4'"):
        load_clean(digits, loaded, image_size=8)


@pytest.mark.parametrize("whole", ["reweight"], indirect=True)
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda r: r.update(kind="search"), "kind is 'search'"),
        (lambda r: r.update(method=3), "method is 3, no text"),
        (lambda r: r.update(method="maml"), "it has no training 'maml'"),
        (lambda r: r.update(epochs=0), "epochs is 0"),
        (lambda r: r.update(wrong_labels=121), "wrong_labels is 121, not in 0..120"),
        (lambda r: r.update(class_count=1), "class_count is 1"),
        (lambda r: r.pop("clean_examples"), "clean_examples"),
        (lambda r: r.update(trainings=[]), "trainings is"),
        (lambda r: r["trainings"].update(plain=1), "a training is 1"),
        (lambda r: r["trainings"]["plain"].update(test_accuracy=1.1), "test_accuracy is 1.1, not in 0..1"),
        (lambda r: r["trainings"]["plain"].update(seconds=-1), "seconds is -1"),
        (lambda r: r["trainings"]["plain"]["issues"].update(auroc=2), "auroc is 2"),
        (lambda r: r["trainings"]["cleaned"]["issues"].update(found="x"), "found is 'x', no whole number"),
        (lambda r: r["differences"].pop("plain"), "the differences are of other trainings"),
        (lambda r: r["differences"]["plain"].update(mean="x"), "mean is 'x', no number"),
    ],
)
def test_a_damaged_result_is_refused(
    change: Any, reason: str, whole: tuple[str, Path], tmp_path: Path
) -> None:
    result = json.loads((whole[1] / "result.json").read_text("utf-8"))
    change(result)
    path = tmp_path / "result.json"
    path.write_text(json.dumps(result), encoding="utf-8")
    with pytest.raises(FphiError, match=f"is damaged \\(.*{re.escape(reason)}.*--resume writes it anew"):
        read_weighting(path)
    path.write_text("[" * 100, encoding="utf-8")
    with pytest.raises(FphiError, match="is damaged"):
        read_weighting(path)


@pytest.mark.parametrize("whole", ["reweight"], indirect=True)
def test_a_result_that_was_deleted_is_written_anew(whole: tuple[str, Path], tmp_path: Path) -> None:
    method, out = whole
    for path in out.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "result.json").unlink()
    quietly("train", method, "--out", tmp_path, "--resume")
    require_same(out, tmp_path)


@pytest.mark.parametrize("whole", ["reweight"], indirect=True)
def test_a_checkpoint_of_another_run_is_refused(
    whole: tuple[str, Path], tmp_path: Path, capsys: Capture
) -> None:
    method, out = whole
    with killed(7):
        fphi("train", method, "--out", tmp_path, *TINY, "--seed", 1)
    capsys.readouterr()
    (tmp_path / "last.safetensors").write_bytes((out / "last.safetensors").read_bytes())
    assert "is of a run with other options" in refused(capsys, "train", method, "--out", tmp_path, "--resume")
    with pytest.raises(FphiError, match=r"has not ended: go on with --resume"):
        package.load(tmp_path)


@pytest.mark.parametrize("curve", [None, [[0.0, 0.2], [3.0, 0.9]]])
@pytest.mark.parametrize("wrong", [None, torch.tensor([True, False, True])])
def test_the_picture_is_a_png_of_its_size(
    wrong: torch.Tensor | None, curve: list[list[float]] | None
) -> None:
    picture = WeightPicture(torch.tensor([0.5, 2.0, 3.0]), torch.tensor([2.0, 0.5, 0.5]), wrong, curve)
    drawn = draw_weights("m", picture)
    assert Image.open(io.BytesIO(drawn)).size == (1024, 896)
    assert drawn == draw_weights("m", picture)


def a_result(own: float, plain: float, ci95: float = 0.01, chosen: float = 0.0) -> dict[str, Any]:
    issues = {"found": None, "found_wrong": None, "auroc": None}
    base: dict[str, Any] = {
        "best_epoch": 1,
        "best_test_accuracy": 1.0,
        "validation_accuracy": 0.0,
        "chosen_epoch": 3,
    }
    base |= {"seconds": 10.0, "issues": issues, "chosen_test_accuracy": chosen}
    trainings = {"plain": {**base, "test_accuracy": plain}, "reweight": {**base, "test_accuracy": own}}
    trainings["reweight"] |= {"seconds": 30.0}
    return {
        **{"method": "reweight", "epochs": 4, "class_count": 10, "clean_examples": 10, "wrong_labels": 30},
        **{"training_examples": 100, "trainings": trainings},
        "differences": {"plain": {"mean": own - plain, "ci95": ci95}},
    }


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (a_result(0.9, 0.8), "reweight is ahead: +10.00 ± 1.00 points"),
        (
            a_result(0.8, 0.9),
            "plain is ahead: −10.00 ± 1.00 points of test accuracy (reweight less plain, last epoch",
        ),
        (a_result(0.8, 0.9), "take plain, not reweight"),
        (a_result(0.9, 0.895), "plain does as well as reweight, which takes 3.0 times as long: take plain"),
        (
            a_result(0.9, 0.8, chosen=0.95),
            "stopped by the validation examples, after epoch 3, reaches 95.00%",
        ),
        (a_result(0.1, 0.12), "nothing is learned"),
    ],
)
def test_the_advice_is_what_came_out(result: dict[str, Any], said: str) -> None:
    lines = advice(result)
    assert lines[0] == "100 training examples, of which 30 have wrong labels; 10 clean ones"
    assert any(said in line for line in lines), lines
    once = "± is of the test examples alone: each was trained once, and another seed may come out otherwise"
    assert (lines[-1] == f"{once}; --seeds 5 tells") == ("points" in lines[1])
    assert weighting_summary(result).header == ("", "plain", "reweight")


def over_seeds(*accuracies: tuple[float, float, float]) -> SeedRuns:
    """Of plain training, cleaning and reweighting."""
    runs = []
    for seed, (plain, cleaned, own) in enumerate(accuracies):
        numbers = {"test accuracy, plain": plain, "test accuracy, cleaned": cleaned}
        numbers["test accuracy, reweight"] = own
        numbers |= {
            "accuracy, reweight less plain": own - plain,
            "accuracy, reweight less cleaned": own - cleaned,
        }
        runs.append(SeedRun(seed, numbers))
    return SeedRuns("reweight", tuple(runs))


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        (
            over_seeds((0.7, 0.8, 0.85), (0.5, 0.6, 0.65), (0.8, 0.9, 0.96)),
            "take reweight, which is better than cl",
        ),
        (over_seeds((0.7, 0.8, 0.75), (0.5, 0.6, 0.55), (0.8, 0.9, 0.84)), "take cleaned, not reweight"),
        (
            over_seeds((0.7, 0.8, 0.95), (0.5, 0.6, 0.62)),
            "no clear difference: take cleaned, which costs less",
        ),
        (
            over_seeds((0.7, 0.8, 0.95)),
            "reweight less cleaned is +15.00 points; of one seed there is no interval",
        ),
    ],
)
def test_over_seeds_the_paired_differences_decide(runs: SeedRuns, said: str) -> None:
    lines = advice_over_seeds(runs)
    assert said in lines[-1]
    if runs.ended == 3 and "not" not in said:  # 5, 5 and 6 points: 4.303 · 0.577 / √3
        assert lines[1].startswith(
            "reweight less cleaned: +5.33 ± 1.43 points of test accuracy, over 3 seeds"
        )
        assert runs.table().body[-1][-1] == "+5.33 ± 1.43"


def test_seeds_of_a_run_are_compared_in_pairs(tmp_path: Path, capsys: Capture) -> None:
    assert fphi("train", "reweight", "--out", tmp_path, *TINY, "--seeds", 2, "--workers", 1) == 0
    lines = capsys.readouterr().out.splitlines()
    gains = [result_of(tmp_path / f"seed-{i}")["differences"]["plain"]["mean"] for i in range(2)]
    mean, ci95 = sum(gains) / 2, 12.7062 * abs(gains[0] - gains[1]) / 2
    assert lines[-3].startswith(
        f"reweight less plain: {points(mean, ci95)} points of test accuracy, over 2 seeds"
    )
    assert "take" in lines[-1]
