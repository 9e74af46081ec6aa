"""Pre-training from the command line: minibatches of all classes, and a run that is tested in three ways."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import fphi
from cli_helpers import SMALL, evaluated, quietly, refused, save_images, trained
from cli_helpers import fphi as command
from fphi.methods.multi_task import MultiTask
from fphi.methods.rotation import Rotation
from fphi.methods.simclr import SimCLR
from fphi.run.disk.checkpoint import BEST, load_parameters, save_parameters
from fphi.tasks import (
    Examples,
    Minibatches,
    PooledTasks,
    Task,
    TaskDistribution,
    few_shot_tasks,
    load_hershey,
)

Capture = pytest.CaptureFixture[str]
FEW = ("--batch-size", 24)


def test_a_run_is_tested_in_each_of_the_three_ways(tmp_path: Path, capsys: Capture) -> None:
    run = trained(tmp_path / "run", *FEW, method="multi-task")
    kept = load_file(run / "best.safetensors")
    assert kept["pretext.classifier.weight"].shape == (917, 256)  # all training classes of the protocol
    own = evaluated(capsys, run, "--test-tasks", 3)
    assert own["by_step"] == []
    assert evaluated(capsys, run, "--test-tasks", 3, "--adapt", "centroids")["accuracy"] == own["accuracy"]
    for adapt, steps in (("head", 50), ("all", 20)):
        by_step = evaluated(capsys, run, "--test-tasks", 3, "--adapt", adapt)["by_step"]
        assert [row["step"] for row in by_step] == list(range(steps + 1))
    short = evaluated(capsys, run, "--test-tasks", 3, "--adapt", "head", "--test-steps", 2)
    assert len(short["by_step"]) == 3
    assert "adapt is 'everything'" in refused(capsys, "evaluate", run, "--adapt", "everything")


def test_ways_and_shots_are_free_at_test(tmp_path: Path, capsys: Capture) -> None:
    run = trained(tmp_path / "run", *FEW, method="rotation")
    for adapt in ("centroids", "head"):
        words = ("--ways", 7, "--shots", 2, "--adapt", adapt)
        assert evaluated(capsys, run, "--test-tasks", 2, *words)["ways"] == 7


def test_where_norms_share_statistics_both_accuracies_are_given(tmp_path: Path, capsys: Capture) -> None:
    run = trained(tmp_path / "run", *FEW, "--norm", "query-batch", method="simclr")
    for adapt in ("centroids", "head", "all"):
        words = ("--test-tasks", 2, "--test-steps", 2, "--adapt", adapt)
        assert set(evaluated(capsys, run, *words)["accuracy"]) == {"inductive", "transductive"}
    running = trained(tmp_path / "running", *FEW, method="simclr")
    assert set(evaluated(capsys, running, "--test-tasks", 2)["accuracy"]) == {"inductive"}


@pytest.mark.parametrize("method", ["multi-task", "simclr"])
def test_a_training_in_two_pieces_is_the_same_to_the_last_bit(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trained(tmp_path / "whole", *FEW, method=method, steps=4)
    pieces = tmp_path / "pieces"
    with monkeypatch.context() as stopping:
        stopping.setattr("fphi.run.disk.interrupt.Interrupt.requested", True)
        command("train", method, "--out", pieces, "--steps", 4, *SMALL, *FEW)
    assert len((pieces / "log.csv").read_text().splitlines()) == 2
    quietly("train", method, "--out", pieces, "--resume", "--max-time", "1h")
    for name in ("last.safetensors", "best.safetensors"):
        one, other = load_file(whole / name), load_file(pieces / name)
        assert all((one[key] == other[key]).all() for key in one)


def test_features_are_the_start_of_another_method(tmp_path: Path, capsys: Capture) -> None:
    run = trained(tmp_path / "run", *FEW, method="multi-task")
    quietly("train", "maml", "--start-from", run, "--out", tmp_path / "maml", "--steps", 1, *SMALL)
    words = ("--start-from", run, "--freeze", "network", "--train-ways", 5)
    quietly(
        "train", "prototypical", *words, "--distance", "cosine", "--out", tmp_path / "p", "--steps", 1, *SMALL
    )
    one, other = (load_file(tmp_path / at / "best.safetensors") for at in ("run", "p"))
    same = [name for name in one if name.startswith("network") and "running" not in name]
    assert same
    assert all((one[name] == other[name]).all() for name in same)


def test_a_folder_of_images_keeps_its_training_classes(tmp_path: Path, capsys: Capture) -> None:
    images = save_images(tmp_path / "images", classes=30, images=4)
    run = trained(tmp_path / "run", "--tasks", images, method="multi-task", steps=1)
    assert load_file(run / "best.safetensors")["pretext.classifier.bias"].shape == (19,)  # 64 per cent of 30
    assert evaluated(capsys, run, "--test-tasks", 2)["ways"] == 5


def test_tasks_that_are_given_become_minibatches_too(tmp_path: Path) -> None:
    given = few_shot_tasks(load_hershey(), "alphabet", ways=5, shots=1)
    fphi.train(
        "multi-task", tasks=given, out=tmp_path / "run", steps=1, validation_tasks=2, threads=1, batch_size=16
    )
    assert fphi.evaluate(tmp_path / "run", given, test_tasks=2)["tasks"] == 2
    assert not isinstance(given, PooledTasks)


class Spots(TaskDistribution):
    """Tasks of one's own: a bright pixel is the class, of six in training, and of three in a test task."""

    splits = ("train", "test")
    pooled_classes = 6

    def batch(self, split: str, indices: Sequence[int]) -> Task:
        draw = torch.Generator().manual_seed(sum(indices))
        ways = torch.arange(6 if split == "train" else 3).expand(len(indices), -1)
        places = ways if split == "train" else ways + 10
        x = torch.rand(*ways.shape, 16, generator=draw).scatter(2, places[..., None], 5.0)
        examples = Examples(x.view(*ways.shape, 1, 4, 4), ways)
        return Task(examples, examples)


def test_tasks_of_one_s_own_are_pooled_once_they_say_how_many_classes_there_are(tmp_path: Path) -> None:
    options = MultiTask(network="mlp", norm="query-batch")
    fphi.train(options, tasks=Spots(), out=tmp_path / "run", steps=2, threads=1)
    kept = load_file(tmp_path / "run" / "best.safetensors")
    assert kept["pretext.classifier.weight"].shape == (6, 64)
    assert fphi.evaluate(tmp_path / "run", Spots(), test_tasks=3)["ways"] == 3


def test_sine_waves_are_learned_as_one_and_fine_tuned(tmp_path: Path, capsys: Capture) -> None:
    words = ("--tasks", "sine", "--shots", 10, "--steps", 3, "--meta-batch", 4, "--validation-tasks", 2)
    quietly("train", "multi-task", *words, "--out", tmp_path / "run", "--threads", 1)
    assert len(evaluated(capsys, tmp_path / "run", "--test-tasks", 2)["by_step"]) == 21


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("multi-task", "--tasks", "digits", "--shots", 2, "--network", "mlp"),
            "these tasks number their classes anew",
        ),
        (
            ("simclr", "--tasks", "digits", "--shots", 2, "--network", "mlp"),
            "simclr needs two views of each image, which these tasks",
        ),
        (("rotation", "--tasks", "sine"), "rotation compares classes, and these tasks have none"),
        (("simclr", "--tasks", "sine"), "simclr compares classes, and these tasks have none"),
        (("multi-task", "--tasks", "sine", "--adapt", "centroids"), "--adapt centroids compares classes"),
        (("multi-task", "--batch-size", 1), "--batch-size is 1; it must be at least 2"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(
    words: tuple[object, ...], message: str, tmp_path: Path, capsys: Capture
) -> None:
    assert message in refused(capsys, "train", *words, "--out", tmp_path / "run", "--steps", 1)


def test_a_note_of_damaged_classes_is_refused(tmp_path: Path, capsys: Capture) -> None:
    run = trained(tmp_path / "run", *FEW, method="multi-task", steps=1)
    learner = fphi.load(run)
    note = load_parameters(run / BEST, learner)
    for classes in (-1, True, "917", 10**12):
        note["setting"] = {**note["setting"], "classes": classes}  # type: ignore[dict-item]
        save_parameters(run / BEST, learner, note)
        assert re.search("does not say what its learner was built for", refused(capsys, "evaluate", run))


def test_the_method_asks_for_minibatches_of_its_size() -> None:
    assert MultiTask(batch_size=32).train_tasks(5, 1) == Minibatches(size=32)
    assert Rotation(batch_size=32).train_tasks(5, 1) == Minibatches(size=32, turned=False)
    assert SimCLR(views="affine").train_tasks(5, 1) == Minibatches(size=160, views="affine")
