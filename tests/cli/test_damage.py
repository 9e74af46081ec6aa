"""Files that were cut, changed or swapped are refused by name; a full disk costs nothing that was there."""

import errno
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from cli_helpers import SMALL, contents, evaluated, fphi, quietly, refused, small_disk, the_error, trained
from fphi.run.disk.checkpoint import read_checkpoint
from fphi.run.disk.files import Json, write_sealed

Capture = pytest.CaptureFixture[str]
Damage = Callable[[bytes], bytes]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("damage") / "run")


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    """A run to be damaged."""
    return Path(shutil.copytree(whole, tmp_path / "run"))


DAMAGES: dict[str, Damage] = {
    "cut": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "bit": lambda data: data[:-5] + bytes([data[-5] ^ 1]) + data[-4:],
    "pickle": lambda data: b"\x80\x04\x95\x0b\x00",
}
EVALUATE = ("evaluate", "--test-tasks", 2)
RESUME = ("train", "maml", "--resume", "--out")
RESULT, SCORES = Path("tests/5w1s.json"), Path("tests/5w1s.safetensors")


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(("name", "words"), [("best.safetensors", EVALUATE), ("last.safetensors", RESUME)])
def test_damaged_weights_are_not_used(
    name: str, words: tuple[object, ...], damage: str, run: Path, capsys: Capture
) -> None:
    (run / name).write_bytes(DAMAGES[damage]((run / name).read_bytes()))
    before = contents(run)
    message = refused(capsys, *words, run)
    assert re.match(
        rf"{run / name} is (damaged: .*SHA-256 differs.*|not a file that fphi wrote.*); \w+", message
    )
    assert contents(run).items() >= before.items()


@pytest.mark.parametrize(
    "content", [{}, {"kind": "parameters"}, {"kind": "parameters", "format": 1, "note": 3, "standing": [1]}]
)
def test_weights_of_another_make_are_refused(content: Json, run: Path, capsys: Capture) -> None:
    """With a right checksum, which whoever makes the file can compute."""
    for name, words in (("best.safetensors", EVALUATE), ("last.safetensors", RESUME)):
        write_sealed(run / name, {"x": torch.zeros(2)}, content)
        message = refused(capsys, *words, run)
        assert re.search(r"holds no|has format|does not fit this learner", message)


@pytest.mark.parametrize("words", [EVALUATE, RESUME])
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("inner_lr: null", "inner_lr: 0.7", r"was changed after the training|trained with another configuration"),
        ("norm: query-batch", "norm: support", r"was changed after|another configuration"),
        ("method: maml", "method: anil", r"was changed after|is a run of anil, not maml"),
        ("ways: 5", "ways: 7", r"does not fit this learner: .*\[5, 256\] .*\[7, 256\]|another configuration"),
        ("ways: 5", "ways: five", r"is damaged \(--ways is 'five'; it must be a whole number"),
        ("ways: 5", "ways: null", r"is damaged \(--ways is null"),
        ("norm: query-batch", "norm: foo", r"is damaged \(--norm is 'foo'; it must be one of query-batch"),
        ("steps: 3", "steps: -3", r"is damaged \(--steps is -3; it must be at least 1\); restore it"),
        ("seed: 0", "seed: zero", r"is damaged \(--seed is 'zero'"),
        ("tasks: hershey", "tasks: 3", r"is damaged \(--tasks is '3'; it must be a text"),
        ("method: maml", "method: mamml", r"is damaged \(unknown method 'mamml'|is a run of mamml, not maml"),
        ("method: maml", "method: [maml]", r"is damaged \(unknown method .\['maml'\]|\['maml'\], not maml"),
        ("method: maml", "method: [[maml]]", r"holds something else than options with plain values"),
        ("shots: 1", "shots: !!python/object/apply:os.mkdir [pwned]", r"is damaged \(could not determine a con"),
        ("shots: 1", "shotz: 1", r"is damaged \(.*shotz"),
        ("shots: 1", "shots: [", r"is damaged \(while parsing"),
    ],
)  # fmt: skip
def test_a_changed_configuration_is_not_used(
    old: str, new: str, message: str, words: tuple[object, ...], run: Path, capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(run)
    config = run / "config.yaml"
    assert old in config.read_text()
    config.write_text(config.read_text().replace(old, new, 1))
    before = contents(run)
    assert re.search(message, refused(capsys, *words, run))
    assert contents(run).items() >= before.items()
    assert not (run / "pwned").exists()


@pytest.mark.parametrize("words", [EVALUATE, RESUME])
@pytest.mark.parametrize("lines", [0, 3, 12, 25])
def test_a_configuration_cut_between_two_lines_is_not_filled_up_with_defaults(
    lines: int, words: tuple[object, ...], run: Path, capsys: Capture
) -> None:
    config = run / "config.yaml"
    config.write_text("".join(config.read_text().splitlines(keepends=True)[:lines]))
    message = refused(capsys, *words, run)
    assert re.search(r"holds something else|was changed after|does not fit|another configuration", message)


def test_where_the_data_are_may_change(run: Path, capsys: Capture) -> None:
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("data_root: null", "data_root: elsewhere"))
    evaluated(capsys, run, "--test-tasks", 2)
    quietly(*RESUME, run)


def test_missing_files_are_named(run: Path, capsys: Capture) -> None:
    (run / "best.safetensors").unlink()
    message = refused(capsys, *EVALUATE, run)
    assert message.endswith(f"before its first validation; go on with: fphi train maml --out {run} --resume")
    (run / "last.safetensors").unlink()
    assert "holds no trained parameters (no best.safetensors)" in refused(capsys, *EVALUATE, run)
    assert f"no run to resume in {run} (no last.safetensors)" in refused(capsys, *RESUME, run)


@pytest.mark.parametrize("damage", ["cut", "empty", "pickle"])
def test_damaged_results_are_not_compared(damage: str, run: Path, whole: Path, capsys: Capture) -> None:
    for folder in (run, whole):
        evaluated(capsys, folder, "--test-tasks", 3)
    for path in (run / RESULT, run / SCORES):
        saved = path.read_bytes()
        path.write_bytes(DAMAGES[damage](saved))
        before = contents(run)
        message = refused(capsys, "compare", run, whole)
        assert re.match(rf"(cannot read )?{path}\b", message)
        assert contents(run) == before  # nothing was evaluated in its place
        if "evaluate the run again" in message:
            evaluated(capsys, run, "--test-tasks", 3)
            assert fphi("compare", run, whole) == 0
        path.write_bytes(saved)
    assert fphi("compare", run, whole) == 0


STEP = {"step": 0, "loss": 1.0, "accuracy": 0.5}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("accuracy", 3), ("accuracy", {"transductive": {"mean": "x"}}), ("ways", "<b>"), ("ways", 0),
        ("seed", None), ("tasks", True), ("queries", "x"), ("turns", "x"), ("test_steps", []),
        ("protocol", 3), ("data", [1]), ("split", []), ("split", 3), ("images", 3), ("command", 3),
        ("by_step", 3), ("by_step", [{"step": "x"}]), ("by_step", [STEP | {"accuracy": None}]),
        ("by_step", [STEP, {"step": 1, "loss": 1.0}]), ("budget", []), ("versions", "x"),
        ("versions", {"x": 3}), ("start", {"frozen": 3}), ("differs", 3), ("loss", {}),
    ],
)  # fmt: skip
def test_a_result_of_the_wrong_types_is_refused(key: str, value: object, run: Path, capsys: Capture) -> None:
    result = evaluated(capsys, run, "--test-tasks", 3) | {key: value}
    (run / RESULT).write_text(json.dumps(result))
    message = refused(capsys, "compare", run, "--html", run / "report.html")
    named = "transductive" if isinstance(value, dict) and key == "accuracy" else key
    assert message == f"{run / RESULT} has no valid {named}; evaluate the run again"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000, "it is nested too deeply"),
        ('{"loss": ' + "9" * 400 + "}", "a number of 400 digits is too large"),
        ('{"loss": ' + "9" * 5000 + "}", "a number of 5000 digits is too large"),
        ('{"loss": ', "Expecting value"),
    ],
    ids=["nested", "large", "larger", "cut"],
)
def test_a_result_that_no_json_can_be_read_from_is_refused(
    text: str, said: str, run: Path, capsys: Capture
) -> None:
    evaluated(capsys, run, "--test-tasks", 2)
    (run / RESULT).write_text(text)
    assert refused(capsys, "compare", run).startswith(f"{run / RESULT} is not valid JSON: {said}")


def test_values_per_task_of_another_evaluation_are_refused(run: Path, whole: Path, capsys: Capture) -> None:
    evaluated(capsys, run, "--test-tasks", 2)
    fewer = (run / SCORES).read_bytes()
    for folder in (run, whole):
        evaluated(capsys, folder, "--test-tasks", 3)
    for values in (fewer, save({"inductive": torch.tensor(0.5)})):
        (run / SCORES).write_bytes(values)
        assert "lacks the values per task: evaluate it again" in refused(capsys, "compare", run, whole)


@pytest.mark.parametrize(
    "text", [b"", b"step\n", b"\x80\xff", b"step,seconds\n2,1.0\n3,2", b"step,seconds\nx,y\n"]
)
def test_a_damaged_log_costs_no_evaluation(text: bytes, run: Path, capsys: Capture) -> None:
    for name in ("log.csv", "command.txt"):
        (run / name).write_bytes(text)
    assert evaluated(capsys, run, "--test-tasks", 2)["tasks"] == 2


def test_a_full_disk_costs_no_checkpoint(tmp_path: Path, capsys: Capture) -> None:
    """The first checkpoint fits, the next one does not, since Adam's state is in it."""
    expected = trained(tmp_path / "whole", "--checkpoint-seconds", 0)
    with small_disk(tmp_path / "disk", "1400k") as disk:
        out = disk / "run"
        words = ("train", "maml", "--out", out, "--steps", 3, "--checkpoint-seconds", 0, *SMALL)
        message = refused_while_training(capsys, *words)
        assert re.search(
            r"last\.safetensors: the disk is full \(\d+ bytes needed, \d+ free\); free some", message
        )
        assert read_checkpoint(out / "last.safetensors").state.step == 0
        assert not list(out.glob("*.tmp"))

        subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
        quietly("train", "maml", "--out", out, "--resume")
        assert (out / "best.safetensors").read_bytes() == (expected / "best.safetensors").read_bytes()


def test_a_full_disk_costs_no_result(run: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was measured is printed although it cannot be kept, and what was kept before stays."""
    evaluated(capsys, run, "--test-tasks", 2)
    before = contents(run)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert fphi("evaluate", run, "--test-tasks", 3, "--json") == 2
    output, errors = capsys.readouterr()
    assert json.loads(output)["tasks"] == 3
    assert f"{run / SCORES}: the disk is full" in the_error(errors)
    assert contents(run) == before


def refused_while_training(capsys: Capture, *words: object) -> str:
    """The last line of stderr, after those of the progress."""
    capsys.readouterr()
    assert fphi(*words) == 2
    output, errors = capsys.readouterr()
    *progress, last = errors.splitlines(keepends=True)
    assert output == ""
    assert all(line.startswith("step ") for line in progress)
    return the_error(last)
