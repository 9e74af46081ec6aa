"""Files that came with somebody else's run: valid, sealed, and put together to do harm."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli_helpers import command, contents, environment, evaluated, fphi, quietly, refused, trained
from fphi.errors import FphiError
from fphi.experiment.config import Config
from search_helpers import TINY_DATA
from unheard import unheard

Capture = pytest.CaptureFixture[str]
SEARCH = (*TINY_DATA, "--child-epochs", 1, "--retrain-epochs", 1, "--evaluations", 2, "--control", "false")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("hostile") / "run")


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    """A run to be altered."""
    return Path(shutil.copytree(whole, tmp_path / "run"))


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "search"
    quietly(
        "search",
        "random-search",
        "--space",
        "nasbench201",
        "--channels",
        2,
        "--cells",
        1,
        *SEARCH,
        "--out",
        folder,
    )
    return folder


def altered(path: Path, how: Callable[[Any], object]) -> None:
    content = json.loads(path.read_text())
    how(content)
    path.write_text(json.dumps(content))


ARCHITECTURES: dict[str, Callable[[dict[str, Any]], object]] = {
    "channels of 10^12": lambda c: c["options"].update(channels=10**12),
    "channels of 10^40": lambda c: c["options"].update(channels=10**40),
    "cells of 10^6": lambda c: c["options"].update(cells=10**6),
    "other channels": lambda c: c["options"].update(channels=512),
    "half a channel": lambda c: c["options"].update(channels=2.5),
    "options of a list": lambda c: c.update(options=[]),
    "a space of a list": lambda c: c.update(space=["nasbench201"]),
    "tokens of a text": lambda c: c.update(tokens="000000"),
    "tokens of halves": lambda c: c.update(tokens=[0.5] * 6),
    "tokens of truth": lambda c: c.update(tokens=[True] * 6),
    "classes of 10^9": lambda c: c.update(outputs=10**9),
    "no classes": lambda c: c.update(outputs=0),
    "classes of a text": lambda c: c.update(outputs="10"),
    "images of 10^9": lambda c: c.update(input_shape=[1, 10**9, 10**9]),
    "images without": lambda c: c.update(input_shape=[1, 0, 8]),
    "images of truth": lambda c: c.update(input_shape=[True, 8, 8]),
}


@pytest.mark.parametrize("change", ARCHITECTURES)
def test_an_architecture_of_impossible_sizes_is_refused_at_once(
    change: str, searched: Path, tmp_path: Path, capsys: Capture
) -> None:
    shutil.copytree(searched, tmp_path / "s")
    altered(tmp_path / "s" / "architecture.json", ARCHITECTURES[change])
    message = refused(capsys, "build", tmp_path / "s", "--out", tmp_path / "weights")
    assert str(tmp_path / "s") in message or "no network can be built" in message
    assert len(message) < 500
    assert not (tmp_path / "weights").exists()


RESULTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "seconds": lambda c: c.update(seconds="long"),
    "accuracy": lambda c: c.update(validation_accuracy=7),
    "epochs": lambda c: c.update(epochs=-1),
    "architecture": lambda c: c.update(architecture=[1]),
    "retrained": lambda c: c.update(retrained=[]),
    "parameters": lambda c: c["retrained"].update(parameters=10**40),
    "control": lambda c: c.update(control=3),
    "method": lambda c: c.pop("method"),
    "retrain_epochs": lambda c: c.update(retrain_epochs=None),
}


@pytest.mark.parametrize("change", RESULTS)
def test_a_result_that_no_search_has_is_not_told(
    change: str, searched: Path, tmp_path: Path, capsys: Capture
) -> None:
    shutil.copytree(searched, tmp_path / "s")
    altered(tmp_path / "s" / "result.json", RESULTS[change])
    message = refused(capsys, "search", "random-search", "--out", tmp_path / "s", "--resume")
    assert message.startswith(f"{tmp_path / 's' / 'result.json'} is damaged (")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("shots", -1), ("tasks", 10**30), ("queries", -5), ("seed", 10**30), ("ways", 10**30),
        ("accuracy", {"inductive": {"mean": 7.0, "ci95": 0.1}}), ("loss", {"mean": float("nan"), "ci95": 0.0}),
        ("by_step", [{"step": -1, "loss": 1.0}]), ("by_step", [{"step": 0, "loss": 1.0, "accuracy": -3.0}]),
    ],
)  # fmt: skip
def test_a_record_of_impossible_numbers_is_refused(
    key: str, value: object, run: Path, capsys: Capture
) -> None:
    record = evaluated(capsys, run, "--test-tasks", 2) | {key: value}
    (run / "tests" / "5w1s.json").write_text(json.dumps(record))
    assert "has no valid" in refused(capsys, "compare", run)


def test_a_configuration_connects_to_no_cluster(searched: Path, tmp_path: Path, capsys: Capture) -> None:
    folder = Path(shutil.copytree(searched, tmp_path / "s"))
    (folder / "result.json").unlink()
    text = (folder / "config.yaml").read_text()
    for old, new, said in (
        ("executor: in-process", "executor: ray", "add --executor ray"),
        ("ray_address: null", "ray_address: ray://stranger:10001", "add --ray-address ray://stranger:10001"),
    ):
        assert old in text
        (folder / "config.yaml").write_text(text.replace(old, new))
        before = contents(folder)
        assert said in refused(capsys, "search", "random-search", "--out", folder, "--resume")
        assert said in refused(
            capsys, "search", "--config", folder / "config.yaml", "--out", tmp_path / "again"
        )
        assert contents(folder) == before
        assert not (tmp_path / "again").exists()
    quietly("search", "random-search", "--out", folder, "--resume", "--ray-address", "null")


def test_a_configuration_downloads_nothing(
    run: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        pytest.fail("a connection was opened")

    monkeypatch.setattr("urllib.request.urlopen", never)
    monkeypatch.setenv("FPHI_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FPHI_DATA", raising=False)
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("tasks: hershey", "tasks: omniglot"))
    commands: dict[str, tuple[object, ...]] = {
        "evaluate": ("evaluate", run),
        "draw": ("draw", run),
        "resume": ("train", "maml", "--out", run, "--resume"),
        "again": ("train", "--config", config, "--out", tmp_path / "again"),
    }
    for words in commands.values():
        assert "downloaded only when you ask for it" in refused(capsys, *words)
    assert not (tmp_path / "again").exists()


def test_a_bad_value_claims_no_folder(tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "run"
    few = ("train", "maml", "--out", out, "--steps", 2, "--meta-batch", 2, "--threads", 1)
    words = (*few, "--network", "conv4-stride", "--validation-tasks", 2)
    refused_with_progress(capsys, *words, "--start-from", tmp_path / "nothing")
    refused_with_progress(capsys, *words, "--inner-lr", 1e30)
    quietly(*words)
    assert Config.read(out).name == "maml"


def refused_with_progress(capsys: Capture, *words: object) -> None:
    capsys.readouterr()
    assert fphi(*words) == 2
    assert "fphi: error: " in capsys.readouterr().err


UNHEARD = (
    *("train", "maml", "--tasks", "sine", "--steps", 2, "--meta-batch", 2),
    *("--log-every", 1, "--threads", 1, "--validation-tasks", 2),
)


@pytest.mark.parametrize("streams", ["<&- >&- 2>&-", "2>/dev/full"])
def test_a_training_goes_on_where_nobody_can_hear_it(streams: str, tmp_path: Path) -> None:
    line = " ".join(command(*UNHEARD, "--out", tmp_path))
    done = subprocess.run(
        ["bash", "-c", f"{line} {streams}"], env=environment(), capture_output=True, check=False
    )
    assert done.returncode == 0
    whole_without_a_word(tmp_path)


@pytest.mark.parametrize("streams", ["2", "12"])
def test_a_training_goes_on_without_some_streams(streams: str, tmp_path: Path) -> None:
    process = unheard(streams, *UNHEARD, "--out", tmp_path)
    said = process.communicate()
    assert (process.returncode, said[1]) == (0, "")
    whole_without_a_word(tmp_path)


def whole_without_a_word(out: Path) -> None:
    assert (out / "best.safetensors").is_file()
    assert (out / "log.csv").read_text().count("\n") == 3  # and nothing that was meant for a closed stream


def test_an_evaluation_is_kept_before_it_is_shown(run: Path) -> None:
    line = " ".join(command("evaluate", run, "--test-tasks", 2, "--json"))
    done = subprocess.run(
        ["bash", "-c", f"{line} >/dev/full"], env=environment(), capture_output=True, check=False, text=True
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert json.loads((run / "tests" / "5w1s.json").read_text())["tasks"] == 2


def test_a_demo_whose_test_was_killed_while_it_was_written_tests_again(
    run: Path, tmp_path: Path, capsys: Capture
) -> None:
    """The folder of tests is there, and no test in it; the next evaluation fills it."""
    (run / "tests").mkdir()
    (run / "tests" / f".fphi-{'0' * 32}.tmp").write_bytes(b"half")
    evaluated(capsys, run, "--test-tasks", 2)
    assert sorted(os.listdir(run / "tests")) == ["5w1s.json", "5w1s.safetensors"]


@pytest.mark.parametrize("length", [3000, 100_000])
def test_messages_are_short_whatever_was_given(length: int, capsys: Capture) -> None:
    assert len(refused(capsys, "train", "x" * length)) < 2000


def test_ctrl_c_while_it_starts_says_one_line(tmp_path: Path) -> None:
    script = (
        "import sys, fphi.cli.main as m\n"
        "def run(*_): raise KeyboardInterrupt\n"
        "m._run = run\nsys.exit(m.main(['train']))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "fphi: interrupted\n")


def test_an_error_names_what_it_is_about() -> None:
    with pytest.raises(FphiError, match="no run directory"):
        Config.read(Path("nothing"))
