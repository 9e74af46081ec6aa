"""Every method from the command line, and what it says of options that it cannot have."""

from dataclasses import fields
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cli_helpers import TINY, evaluated, fphi, quietly, refused, save_images, trained
from fphi.methods import FewShotMethod, Setting, methods
from fphi.methods.families.networks import build_network

Capture = pytest.CaptureFixture[str]
METHODS = {name: cls for name, cls in methods().items() if issubclass(cls, FewShotMethod)}


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_trains_and_is_tested_from_the_command_line(
    name: str, tmp_path: Path, capsys: Capture
) -> None:
    options = {f.name for f in fields(METHODS[name])}
    words = ["--train-ways", 5] if "train_ways" in options else []
    # 40 and 50 by default.
    words += ["--inner-steps", 3] if "unroll" in options or name == "from-scratch" else []
    words += ["--test-steps", 3] if name == "reptile" else []
    quietly("train", name, "--out", tmp_path / "run", "--steps", 1, *words, *TINY)
    result = evaluated(capsys, tmp_path / "run", "--test-tasks", 3)
    assert result["method"] == name
    assert 0 <= result["accuracy"]["inductive"]["mean"] <= 1
    assert ("measures" in result) == (name in ("siamese", "mann", "lstm"))


def test_without_validation_the_running_statistics_are_taken_at_the_end(tmp_path: Path) -> None:
    words = ("--train-on-validation", "true", "--train-ways", 5)
    run = trained(tmp_path / "run", *words, method="prototypical", steps=2)
    kept = load_file(run / "best.safetensors")
    means = {name: value for name, value in kept.items() if "running_mean" in name}
    assert means
    assert all(float(value.abs().max()) > 0 for value in means.values())
    assert all(float((kept[n.replace("mean", "var")] - 1).abs().max()) > 0 for n in means)


def test_the_features_of_an_mlp_are_compared_and_not_its_logits(tmp_path: Path, capsys: Capture) -> None:
    words = ("--network", "mlp", "--train-ways", 5)
    quietly("train", "prototypical", "--out", tmp_path / "run", "--steps", 1, *words, *TINY)
    assert evaluated(capsys, tmp_path / "run", "--test-tasks", 2, "--ways", 7)["ways"] == 7
    assert build_network("mlp", Setting(5, 1, (1, 28, 28)), "running", head=False)(
        torch.rand(3, 1, 28, 28)
    ).shape == (3, 64)


def test_a_learner_by_sequence_or_by_sums_is_bound_to_its_sizes(tmp_path: Path, capsys: Capture) -> None:
    snail = trained(tmp_path / "snail", method="snail", steps=1)
    for size, value in (("ways", 7), ("shots", 2)):
        trained_with = {"ways": 5, "shots": 1}[size]
        assert refused(capsys, "evaluate", snail, f"--{size}", value) == (
            f"snail was trained with --{size} {trained_with} and is bound to that; train it with --{size} {value}"
        )
    quietly("train", "relation", "--train-ways", 5, "--out", tmp_path / "relation", "--steps", 1, *TINY)
    assert "bound to that" in refused(capsys, "evaluate", tmp_path / "relation", "--shots", 2)
    assert evaluated(capsys, tmp_path / "relation", "--test-tasks", 2, "--ways", 7)["ways"] == 7


def test_options_that_are_given_and_change_nothing_are_named(tmp_path: Path, capsys: Capture) -> None:
    own = tmp_path / "nets.py"
    own.write_text(
        "import torch\n\ndef plain(shape, outputs):\n    return torch.nn.Linear(*shape, outputs)\n"
    )
    other = "changes nothing as the other options and the tasks are; leave it out, or change them"
    small = ("--tasks", "quadratics", "--steps", 1, "--inner-steps", 1, *TINY)
    for number, (words, said) in enumerate(
        (
            (("tuned-optimizer", "--rule", "sgd", "--momentum", 0.5), [f"--momentum {other}"]),
            (("tuned-optimizer", "--rule", "momentum", "--momentum", 0.5), []),
            (("maml", "--norm", "support"), [f"--norm {other}"]),
            (
                ("maml", "--norm", "support", "--network", f"{own}:plain"),
                ["--norm changes nothing: a network of"],
            ),
            (("maml", "--network", f"{own}:plain"), []),
        )
    ):
        capsys.readouterr()
        assert fphi("train", *words, *small, "--out", tmp_path / str(number)) == 0
        lines = [line for line in capsys.readouterr().err.splitlines() if "changes nothing" in line]
        assert len(lines) == len(said)
        assert all(line.startswith(start) for line, start in zip(lines, said, strict=True))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("siamese", "--network", "koch"), "--image-size 105"),
        (("siamese", "--image-size", 105), "image size 105: the embedded characters have 28"),
        (("siamese", "--tasks", "sine"), "siamese compares classes, and these tasks have none"),
        (("relation", "--tasks", "sine"), "relation compares classes, and these tasks have none"),
        (("mann", "--tasks", "sine"), "mann reads class labels, and these tasks have none"),
        (("siamese", "--train-ways", 1), "--train-ways is 1, which leaves nothing to compare"),
        (("imaginary", "--generated", -1), "generated is -1; it must be at least 0"),
        (("matching", "--context", "true", "--reads", -1), "reads is -1; it must be at least 0"),
    ],
)
def test_what_a_method_cannot_be_is_said_in_a_line(
    words: tuple[object, ...], message: str, tmp_path: Path, capsys: Capture
) -> None:
    assert message in refused(capsys, "train", *words, "--out", tmp_path / "run", *TINY)


def test_a_size_that_no_image_has_is_refused(tmp_path: Path, capsys: Capture) -> None:
    images = save_images(tmp_path / "images", classes=30, images=4)
    words = ("train", "siamese", "--tasks", images, "--image-size", 0, "--out", tmp_path / "run")
    assert refused(capsys, *words) == "--image-size is 0; it must be at least 1"


def test_the_table_has_room_on_a_narrow_terminal(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    assert fphi("methods") == 0
    assert "maml" in capsys.readouterr().out


def test_the_table_says_of_which_kind_a_method_is(capsys: Capture) -> None:
    assert fphi("methods") == 0
    kinds = {line.split()[1]: line.split()[3] for line in capsys.readouterr().out.splitlines() if "│" in line}
    assert (kinds["maml"], kinds["darts"], kinds["reweight"]) == ("few-shot", "search", "weighting")
    assert kinds["meta-weight-net"] == "weighting"
