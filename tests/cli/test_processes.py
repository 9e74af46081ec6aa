"""Commands in processes of their own: a polite stop, and several ranks."""

import shlex
import signal
import subprocess
from pathlib import Path

import pytest
import torch

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


def test_two_devices_train_what_one_trains_up_to_rounding(tmp_path: Path) -> None:
    process = start("train", "maml", "--out", tmp_path / "two", "--devices", 2, *SINE)
    quietly("train", "maml", "--out", tmp_path / "one", *SINE)
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    assert output.count("3 steps in ") == 1
    two, one = (read_checkpoint(tmp_path / name / "last.safetensors").learner for name in ("two", "one"))
    assert two.keys() == one.keys()
    for name, expected in one.items():
        torch.testing.assert_close(two[name], expected, rtol=1e-4, atol=1e-5)


def test_in_chunks_of_a_given_size_any_number_of_devices_trains_the_same_bits(tmp_path: Path) -> None:
    """Of five tasks in three chunks one device has three, two have two and one, and each of three has one."""
    words = ("train", "maml", *SINE, "--chunk-size", 2)
    others = [start(*words, "--out", tmp_path / str(devices), "--devices", devices) for devices in (2, 3)]
    quietly(*words, "--out", tmp_path / "1")
    for process in others:
        _, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, errors
    learners = [read_checkpoint(tmp_path / name / "last.safetensors").learner for name in "123"]
    for name, expected in learners[0].items():
        assert all(bool((learner[name] == expected).all()) for learner in learners[1:]), name
