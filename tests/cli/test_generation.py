"""Hypernetworks and LEO from the command line: on an embedding learned before, resumed, at other sizes."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cli_helpers import SMALL, evaluated, fphi, quietly, refused, trained
from fphi.run.disk.checkpoint import BEST, LAST, read_checkpoint

Capture = pytest.CaptureFixture[str]
FEW = ("--train-ways", 5, "--train-queries", 2)


@pytest.fixture(scope="module")
def embedding(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = ("--train-ways", 5, "--norm", "support")
    return trained(tmp_path_factory.mktemp("runs") / "emb", *words, method="prototypical", steps=1)


@pytest.mark.parametrize("method", ["hypernetwork", "leo"])
def test_an_embedding_that_was_learned_before_stays_as_it_is(
    method: str, embedding: Path, tmp_path: Path, capsys: Capture
) -> None:
    words = (*FEW, "--start-from", embedding, "--freeze", "network", "--validate-every", 0)
    run = trained(tmp_path / "run", *words, method=method, steps=2)
    weights, start = (load_file(folder / "best.safetensors") for folder in (run, embedding))
    assert {name for name in weights if name.startswith("network.")} == start.keys()
    assert all(torch.equal(weights[name], start[name]) for name in start)
    assert evaluated(capsys, run, "--test-tasks", 2)["start"] == {
        "run": "emb", "method": "prototypical", "frozen": "network"
    }  # fmt: skip


@pytest.mark.parametrize(("method", "frozen"), [("hypernetwork", False), ("leo", False), ("leo", True)])
def test_a_run_that_was_stopped_ends_as_one_that_was_not_bit_for_bit(
    method: str, frozen: bool, embedding: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With samples and dropout."""
    words: tuple[object, ...] = (*FEW, "--validate-every", 0)
    words += ("--start-from", embedding, "--freeze", "network") if frozen else ()
    whole, out = trained(tmp_path / "whole", *words, method=method, steps=2), tmp_path / "out"
    with monkeypatch.context() as stopping:
        stopping.setattr("fphi.run.disk.interrupt.Interrupt.requested", True)
        fphi("train", method, "--out", out, "--steps", 2, *SMALL, *words)
    assert read_checkpoint(out / LAST).state.step == 1
    quietly("train", method, "--out", out, "--resume")
    assert (out / BEST).read_bytes() == (whole / BEST).read_bytes()


@pytest.mark.parametrize("method", ["hypernetwork", "leo"])
def test_other_ways_and_shots_need_no_other_training(method: str, tmp_path: Path, capsys: Capture) -> None:
    run = trained(tmp_path / "run", *FEW, "--validate-every", 0, method=method, steps=1)
    result = evaluated(capsys, run, "--test-tasks", 2, "--ways", 7, "--shots", 3)
    assert (result["ways"], result["shots"]) == (7, 3)
    steps = 11 if method == "leo" else 0  # 5 of either kind, and before them
    assert len(result["by_step"]) == steps


def test_regression_is_refused(tmp_path: Path, capsys: Capture) -> None:
    for method in ("hypernetwork", "leo"):
        said = refused(capsys, "train", method, "--tasks", "sine", "--out", tmp_path / "run")
        assert said == f"{method} needs classes, and these tasks have none: choose maml"


def test_what_leo_cannot_be_is_said_in_a_line(tmp_path: Path, capsys: Capture) -> None:
    for words, message in (
        (("--dropout", 1), "dropout is 1"),
        (("--latent-steps", -1), "latent-steps is -1; it must be at least 0"),
        (("--latent-lr", 0), "latent-lr is 0"),
    ):
        assert message in refused(capsys, "train", "leo", *words, "--out", tmp_path / "run")
