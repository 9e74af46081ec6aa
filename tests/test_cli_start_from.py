"""``fphi train --start-from RUN``: beginning with what another run learned."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cli_helpers import evaluated, quietly, refused, trained

Capture = pytest.CaptureFixture[str]

# Of so small a rate that what a run ends with is what it began with.
STANDING_STILL = ("--outer-lr", 1e-30, "--ways", 3)


@pytest.fixture(scope="module")
def prototypical(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("runs") / "proto", "--train-ways", 5, method="prototypical")


def test_another_methods_embedding_is_taken_over_and_the_rest_starts_at_random(
    prototypical: Path, tmp_path: Path, capsys: Capture
) -> None:
    fresh = trained(tmp_path / "fresh", *STANDING_STILL, method="snail", steps=1)
    words = (*STANDING_STILL, "--start-from", prototypical, "--protocol", "alphabet")
    run = trained(tmp_path / "run", *words, method="snail", steps=1)
    # The usual protocol is the same whether named or not.
    begun, alone, start = (load_file(folder / "best.safetensors") for folder in (run, fresh, prototypical))
    shared = begun.keys() & start.keys()
    assert {name for name in begun if name.startswith("network.")} == shared != begun.keys()
    for name, tensor in begun.items():
        before = start[name] if name in shared else alone[name]
        torch.testing.assert_close(tensor, before, rtol=0, atol=1e-20)
    assert any(not torch.equal(alone[name], start[name]) for name in shared)
    assert evaluated(capsys, run, "--tasks", 2)["method"] == "snail"


def test_a_run_goes_on_without_the_one_it_started_from(prototypical: Path, tmp_path: Path) -> None:
    start = shutil.copytree(prototypical, tmp_path / "start")
    run = trained(tmp_path / "run", "--start-from", start, "--ways", 3, method="snail", steps=2)
    weights = (run / "best.safetensors").read_bytes()
    shutil.rmtree(start)
    quietly("train", "snail", "--out", run, "--resume")
    assert (run / "best.safetensors").read_bytes() == weights


def test_parameters_that_have_seen_the_test_classes_are_refused(
    prototypical: Path, tmp_path: Path, capsys: Capture
) -> None:
    def says(*words: object) -> str:
        return refused(capsys, "train", "snail", "--out", tmp_path / "run", *words)

    said = says("--start-from", prototypical, "--protocol", "fraction")
    assert said.startswith(f"{prototypical} learned hershey under protocol alphabet, and here it is fraction")
    more = trained(
        tmp_path / "more", "--train-on-validation", "true", "--train-ways", 5, method="prototypical"
    )
    assert "--train-on-validation true" in says("--start-from", more)
    assert "no run directory" in says("--start-from", tmp_path / "nothing")
    assert not (tmp_path / "run").exists()


def test_a_run_of_which_nothing_fits_is_refused(prototypical: Path, tmp_path: Path, capsys: Capture) -> None:
    words = ("--network", "mlp", "--start-from", prototypical, "--out", tmp_path / "run")
    said = refused(capsys, "train", "maml", *words)
    assert "no parameter in common" in said
