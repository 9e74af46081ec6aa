"""Commands in processes of their own: a polite stop, and several ranks."""

import shlex
import signal
import subprocess
from pathlib import Path

import pytest

from cli_helpers import SMALL, TINY, command, environment, evaluated, quietly, trained
from fphi.run.disk.checkpoint import read_checkpoint
from leashed import held
from waiting import PATIENCE, wait_until

STEPS = 8


def start(*words: object) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(command(*words), stdout=pipe, stderr=pipe, text=True, env=environment())


def test_a_terminated_training_says_how_to_go_on_and_then_ends_as_if_never_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "stopped run"
    waits = tmp_path / "waits"
    process = held(waits, 4, "train", "maml", "--out", out, "--steps", STEPS, *SMALL)
    wait_until(waits.exists, process)
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, output) == (130, ""), errors

    step = read_checkpoint(out / "last.safetensors").state.step
    assert step == 5  # the one after: a signal is asked for before the step is taken
    resume = f"fphi train maml --out '{out}' --resume"
    assert errors.splitlines()[-1] == f"stopped at step {step}; go on with: {resume}"
    assert (out / "command.txt").read_text().startswith(f"fphi train maml --out '{out}' --steps {STEPS}")

    quietly(*shlex.split(resume)[1:])
    expected = trained(tmp_path / "whole", steps=STEPS)
    assert (out / "best.safetensors").read_bytes() == (expected / "best.safetensors").read_bytes()
    stopped, whole = ((folder / "log.csv").read_text().splitlines() for folder in (out, expected))
    assert [row.rpartition(",")[0] for row in stopped] == [row.rpartition(",")[0] for row in whole]
    assert evaluated(capsys, out, "--test-tasks", 2)["budget"]["meta-steps"] == STEPS


SINE = ("--tasks", "sine", "--shots", 5, "--inner-lr", 0.01, "--steps", 3, *TINY, "--meta-batch", 5)


def test_in_chunks_of_a_given_size_two_devices_train_the_bits_of_one(tmp_path: Path) -> None:
    """Of five tasks in three chunks one device has all, of two one has two chunks, the other the last task."""
    words = ("train", "maml", *SINE, "--chunk-size", 2)
    process = start(*words, "--out", tmp_path / "two", "--devices", 2)
    quietly(*words, "--out", tmp_path / "one")
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    assert output.count("3 steps in ") == 1
    two, one = (read_checkpoint(tmp_path / name / "last.safetensors").learner for name in ("two", "one"))
    assert two.keys() == one.keys()
    for name, expected in one.items():
        assert (two[name] == expected).all(), name
