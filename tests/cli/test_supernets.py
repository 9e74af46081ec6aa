"""Searches in a supernet through the command line: their directory, a stop after an epoch, and going on."""

import csv
import math
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import fphi as package
from cli_helpers import contents, fphi, quietly, refused
from search_helpers import TINY_DATA, events, result
from waiting import Clock

Tell = Callable[[dict[str, float], int], None]

TRAINING = (*TINY_DATA, "--child-epochs", "1", "--retrain-epochs", "1")
SEARCHES = {
    "enas-macro": ("--layers", 2, "--channels", 2, "--steps", 1, "--samples", 2, "--batch-size", 25),
    "darts": ("--space", "nasbench201", "--channels", 2, "--batch-size", 25),
}


@pytest.mark.parametrize("method", SEARCHES)
def test_a_supernet_is_compared_with_a_number_of_random_candidates(
    method: str, tmp_path: Path, clock: Clock
) -> None:
    """By a clock on which each look takes half a second, which no rounding changes."""
    clock.tick = 0.5
    few = ("--epochs", 2, "--control-evaluations", 2)
    quietly("search", method, "--out", tmp_path, *SEARCHES[method], *TRAINING, *few)
    said = result(tmp_path)
    variant = {"darts": "darts (first order)"}.get(method, method)
    assert (said["method"], said["epochs"], "evaluations" in said) == (variant, 2, False)
    assert (said["control"]["budget"], said["control"]["evaluations"]) == ("2 evaluations", 2)
    with (tmp_path / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["epoch"]) for row in rows] == [1, 2]
    assert 0 < float(rows[0]["seconds"]) < float(rows[1]["seconds"])
    for picture in ("architecture.png", "search.png"):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")
    assert not package.load(tmp_path).training


def test_tau_is_in_the_result_and_in_what_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        *SEARCHES["enas-macro"],
        *TRAINING,
        "--epochs",
        1,
        "--control",
        "false",
        "--tau",
        3,
        "--tau-epochs",
        1,
    )
    assert fphi("search", "enas-macro", "--out", tmp_path, *words) == 0
    with (tmp_path / "history.csv").open(newline="") as file:
        tau = float(list(csv.DictReader(file))[-1]["kendall_tau"])
    said = result(tmp_path)["kendall_tau"]
    assert said == tau or (said is None and math.isnan(tau))
    line = next(line for line in capsys.readouterr().out.splitlines() if "Kendall's τ" in line)
    assert ("undefined" if said is None else f"{said:.2f}") in line


def test_the_budget_of_random_search_can_be_given(tmp_path: Path) -> None:
    words = (*SEARCHES["enas-macro"], *TRAINING, "--epochs", 1, "--evaluations", 3)
    quietly("search", "enas-macro", "--out", tmp_path, *words)
    said = result(tmp_path)["control"]
    assert (said["budget"], said["evaluations"]) == ("3 evaluations", 3)


@pytest.mark.parametrize("method", SEARCHES)
def test_a_stopped_supernet_goes_on_as_if_never_stopped(
    method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*SEARCHES[method], *TRAINING, "--epochs", 3, "--control", "false")
    quietly("search", method, "--out", tmp_path / "whole", *words)

    @contextmanager
    def terminated(title: str) -> Iterator[Tell]:
        yield lambda row, epochs: signal.raise_signal(signal.SIGTERM) if row["epoch"] == 2 else None

    out = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        patch.setattr("fphi.experiment.search.steps.epoch_line", terminated)
        assert fphi("search", method, "--out", out, *words) == 130
    resume = f"fphi search {method} --out {out} --resume"
    assert capsys.readouterr().err == f"stopped after 2 of 3 epochs; go on with: {resume}\n"
    quietly("search", method, "--out", out, "--resume")
    assert events(out / "history.jsonl") == events(tmp_path / "whole" / "history.jsonl")
    for file in ("architecture.json", "best.safetensors"):
        assert (out / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_a_space_that_a_supernet_does_not_know_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for method, message in (("darts", "cannot be mixed"), ("enas", "have no shared weights")):
        out = tmp_path / method
        said = refused(capsys, "search", method, "--space", "nasbench-macro", "--out", out)
        assert message in said
    words = ("--space", "nasbench201", "--table", "x", "--evaluations", 5)
    assert "there is no table" in refused(capsys, "search", "darts", *words)
    assert contents(tmp_path) == {}


@pytest.fixture(scope="module")
def enas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("enas") / "run"
    words = (*SEARCHES["enas-macro"], *TRAINING, "--epochs", 3, "--control", "false")
    quietly("search", "enas-macro", "--out", out, *words)
    return out


TORN = ['{"epo', '{"epoch": 2, "train_loss": 2.', '{"epoch": 2, "seconds": 1.0}']


@pytest.mark.parametrize("torn", TORN)
def test_a_log_torn_in_a_line_loses_no_search_however_often_it_is_resumed(
    torn: str, enas: Path, tmp_path: Path
) -> None:
    shutil.copytree(enas, tmp_path / "whole")
    for name in ("result.json", "architecture.json"):
        (tmp_path / "whole" / name).rename(tmp_path / name)
    log = tmp_path / "whole" / "history.jsonl"
    lines, expected = log.read_text().splitlines(keepends=True), events(log)
    log.write_text(lines[0] + torn)
    for _ in range(2):
        (tmp_path / "whole" / "result.json").unlink(missing_ok=True)
        quietly("search", "enas-macro", "--out", tmp_path / "whole", "--resume")
        assert log.read_text().startswith(lines[0])
        assert events(log) == expected  # the checkpoint knows the epochs, and only what they took is lost
    assert result(tmp_path / "whole")["architecture"] == result(tmp_path)["architecture"]


@pytest.mark.parametrize(
    "line", ["{", '{"epoch": "x", "seconds": 1}', '{"epoch": 1}', "[1]", '{"seconds": 1e400}']
)
def test_a_log_damaged_in_a_whole_line_is_named(
    line: str, enas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(enas, tmp_path, dirs_exist_ok=True)
    (tmp_path / "result.json").unlink()
    (tmp_path / "history.jsonl").write_text(line + "\n")
    message = refused(capsys, "search", "enas-macro", "--out", tmp_path, "--resume")
    assert message.startswith(f"{tmp_path / 'history.jsonl'} is damaged in line 1 (")
