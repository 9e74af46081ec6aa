"""``fphi train --start-from RUN``: beginning with what another run learned."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cli_helpers import SMALL, evaluated, fphi, quietly, refused, save_images, trained
from fphi.report.files import read_tests
from fphi.report.rows import ResultRow, methods_table
from fphi.run.disk.files import read_sealed, write_sealed

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
    result = evaluated(capsys, run, "--test-tasks", 2)
    assert result["start"] == {"run": "proto", "method": "prototypical", "frozen": None}
    row = ResultRow.from_record(read_tests(run)["3w1s"])
    assert "| snail; from prototypical |" in methods_table([row]).markdown()


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
    assert said.startswith(f"{prototypical} learned from ")
    assert "train it with the same --protocol" in said
    learned = ("--train-ways", 5, "--start-from", prototypical)
    more = trained(tmp_path / "more", "--train-on-validation", "true", *learned, method="prototypical")
    assert f"{more} learned from 150 of the 323 classes" in says("--start-from", more)
    after = trained(tmp_path / "after", "--start-from", more, "--train-on-validation", "true", method="maml")
    config = (after / "config.yaml").read_text()
    (after / "config.yaml").write_text(
        config.replace("train_on_validation: true", "train_on_validation: false")
    )
    assert f"{more} learned from 150" in says("--start-from", after)
    shutil.rmtree(more)
    assert f"{more} is no run directory" in says("--start-from", after)
    assert not (tmp_path / "run").exists()


def test_one_folder_under_two_names_is_the_same_data(tmp_path: Path, capsys: Capture) -> None:
    save_images(tmp_path / "images", 12, 4)
    (tmp_path / "other").symlink_to(tmp_path / "images")
    words = ("--ways", 2, "--image-size", 16)
    start = trained(
        tmp_path / "start", *words, "--tasks", tmp_path / "images", "--train-on-validation", "true"
    )
    again = ("--tasks", tmp_path / "other", "--start-from", start, "--out", tmp_path / "run")
    assert f"{start} learned from " in refused(capsys, "train", "maml", *words, *again)
    save_images(tmp_path / "more", 12, 4)
    assert fphi("train", "maml", *SMALL, *words, "--steps", 1, *again, "--tasks", tmp_path / "more") == 0
    assert "classes that this training is validated or tested on have names" in capsys.readouterr().err


def test_a_frozen_part_stays_as_it_starts(prototypical: Path, tmp_path: Path, capsys: Capture) -> None:
    # Validated at the end alone, so that the last parameters are the best ones.
    ended = ("--outer-lr", 0.1, "--ways", 3, "--validate-every", 0)
    words = ("--start-from", prototypical, "--freeze", "network", *ended)
    run = trained(tmp_path / "run", *words, method="snail", steps=2)
    whole = trained(tmp_path / "whole", *words, method="snail", steps=3)
    quietly("train", "snail", "--config", run / "config.yaml", "--steps", 3, "--out", tmp_path / "three")
    weights, start = (load_file(folder / "best.safetensors") for folder in (whole, prototypical))
    for name, tensor in weights.items():
        if name.startswith("network."):
            assert torch.equal(tensor, start[name]), name
    assert any(not torch.equal(t, load_file(run / "best.safetensors")[n]) for n, t in weights.items())
    assert (tmp_path / "three" / "best.safetensors").read_bytes() == (whole / "best.safetensors").read_bytes()
    frozen = ("--out", tmp_path / "no", "--freeze")
    said = refused(capsys, "train", "snail", *frozen, "kernel")
    assert (
        said == "--freeze kernel is no parameter of this learner; it has the parts core, network, standardise"
    )
    assert "--freeze network is every parameter" in refused(capsys, "train", "maml", *frozen, "network")
    assert not (tmp_path / "no").exists()


def test_a_learner_within_another_is_a_start_and_so_is_one_for_the_baseline(
    prototypical: Path, tmp_path: Path
) -> None:
    still = ("--outer-lr", 1e-30, "--train-ways", 5)
    run = trained(tmp_path / "run", *still, "--start-from", prototypical, method="imaginary", steps=1)
    inner, start = (load_file(folder / "best.safetensors") for folder in (run, prototypical))
    for name in start:
        # Statistics are sums over the same examples in another order (its support sets come shuffled).
        rtol, atol = (1e-5, 1e-7) if "running" in name else (0, 1e-20)
        torch.testing.assert_close(inner[f"learner.{name}"], start[name], rtol=rtol, atol=atol)
    network = ("--network", "conv4-pool", "--start-from", prototypical)
    quietly("train", "from-scratch", *network, "--out", tmp_path / "scratch")
    baseline = load_file(tmp_path / "scratch" / "best.safetensors")
    shared = [name for name in baseline if name in start]
    assert shared
    assert all(torch.equal(baseline[name], start[name]) for name in shared)


def test_a_run_of_which_nothing_fits_is_refused(prototypical: Path, tmp_path: Path, capsys: Capture) -> None:
    words = ("--network", "mlp", "--start-from", prototypical, "--out", tmp_path / "run")
    said = refused(capsys, "train", "maml", *words)
    assert "no parameter in common" in said


def statistics(run: Path) -> dict[str, torch.Tensor]:
    return {k: t for k, t in load_file(run / "best.safetensors").items() if ".running_" in k}


COSINE = ("--ways", 3, "--train-ways", 5, "--norm", "running", "--distance", "cosine", "--freeze", "network")


@pytest.mark.parametrize("validate", [0, 1])
def test_what_is_frozen_keeps_its_statistics_and_learns_with_them(validate: int, tmp_path: Path) -> None:
    """Else what is learned upon it is tested on other features than it was trained on."""
    words = ("--ways", 3, "--train-ways", 5, "--norm", "running")
    start = trained(tmp_path / "start", *words, method="prototypical", steps=1)
    on_it = (*COSINE, "--validate-every", validate, "--start-from")
    run = trained(tmp_path / "run", *on_it, start, method="prototypical", steps=2)
    assert len(statistics(start)) == 8
    assert all(torch.equal(kept, statistics(start)[name]) for name, kept in statistics(run).items())

    # What a step sees are these statistics: with others it learns something else.
    other = shutil.copytree(start, tmp_path / "other")
    tensors, content = read_sealed(start / "best.safetensors")
    doubled = {name: 2 * t if ".running_" in name else t for name, t in tensors.items()}
    write_sealed(other / "best.safetensors", doubled, content)
    changed = trained(tmp_path / "changed", *on_it, other, method="prototypical", steps=2)
    one, two = (load_file(folder / "best.safetensors") for folder in (run, changed))
    learned = [name for name in one if not name.startswith("network.")]
    assert learned
    assert any(not torch.equal(one[name], two[name]) for name in learned)


def test_what_is_frozen_and_brings_no_statistics_gets_those_of_the_training_tasks(
    prototypical: Path, tmp_path: Path
) -> None:
    words = (*COSINE, "--start-from", prototypical)
    whole = trained(tmp_path / "whole", *words, method="prototypical", steps=3)
    begun = trained(tmp_path / "one", *words, method="prototypical", steps=1)
    assert len(statistics(whole)) == 8
    for name, tensor in statistics(whole).items():
        assert bool(tensor.any())
        assert torch.equal(tensor, statistics(begun)[name])
