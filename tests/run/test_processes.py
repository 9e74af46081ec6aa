"""Training in processes of its own: killed at any moment, and on several ranks."""

import csv
import random
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from forked import Forked
from fphi.run.disk.checkpoint import load_parameters, read_checkpoint
from fphi.run.meta.loop import Training, train
from fphi.run.meta.ranks import Ranks, in_first_process
from run_fakes import FakeLearner, FakeTasks, distance, first_rank, main, momentum, run
from waiting import PATIENCE, wait_until

TRAINING = Training(steps=30, meta_batch=5, checkpoint_seconds=0, validate_every=7, log_every=1)


def on_ranks(out: Path, *options: object) -> Forked:
    """Of two ranks the first begins at once, and starts the other as a command of its own."""
    return Forked(first_rank, Path(__file__).parent.parent / "run_fakes.py", out, "--devices", 2, *options)


def finish(out: Path, *options: object) -> str:
    """Train to the end; the last line of the output."""
    process = on_ranks(out, *options)
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    return output.splitlines()[-1]


def forked(out: Path, *options: object) -> Forked:
    """The same of one rank, begun at once."""
    return Forked(main, "run_fakes.py", out, *options)


def wait_for_steps(out: Path, count: int, process: Forked) -> None:
    """Until ``count`` more steps are in the log."""
    before = len(steps(out))
    wait_until(lambda: len(steps(out)) >= before + count, process)


def steps(out: Path) -> list[int]:
    path = out / "log.csv"
    lines = path.read_text().splitlines(keepends=True)[1:] if path.exists() else []
    return [int(line.split(",")[0]) for line in lines if line.endswith("\n")]


def losses(out: Path) -> list[list[str]]:
    with (out / "log.csv").open() as file:
        return [line[:-1] for line in csv.reader(file)]


def test_killed_three_times_and_resumed_is_uninterrupted_bit_for_bit(tmp_path: Path) -> None:
    """SIGKILL at random moments, while a checkpoint is written after each step; no session comes to the end."""
    expected, _ = run(tmp_path / "whole", TRAINING)
    out, kills, moments = tmp_path / "killed", 0, random.Random(0)
    while kills < 3:
        process = forked(out, "--slow", 0.03, "--wait-at", TRAINING.meta_batch * (9 * kills + 9))
        wait_for_steps(out, 2, process)
        time.sleep(moments.uniform(0, 0.15))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        kills += 1
    assert 0 < steps(out)[-1] < TRAINING.steps
    process = forked(out)
    assert process.communicate()[0] == "finished 30\n"

    assert losses(out) == losses(tmp_path / "whole")
    assert [int(line[0]) for line in losses(out)[1:]] == list(range(1, 31))
    learner = FakeLearner()
    load_parameters(out / "best.safetensors", learner)
    assert torch.equal(learner.vector, expected.vector)
    ends = [read_checkpoint(folder / "last.safetensors") for folder in (out, tmp_path / "whole")]
    assert torch.equal(ends[0].learner["vector"], ends[1].learner["vector"])
    assert [replace(end.state, seconds=0) for end in ends] == [replace(ends[0].state, seconds=0)] * 2


def test_two_ranks_are_one_up_to_rounding_also_when_one_resumes_the_other(tmp_path: Path) -> None:
    """A batch of 5 on two ranks, 2 and 3: weighted by their counts. SIGTERM to the first stops both."""
    learner = FakeLearner(dropout=0.0, dtype=torch.float64)
    tasks = FakeTasks(dtype=torch.float64)
    train(learner, momentum(learner), tasks, TRAINING, tmp_path / "one", validate=distance, progress=False)

    out = tmp_path / "two"
    process = on_ranks(out, "--double", "--wait-at", TRAINING.meta_batch * 5)
    wait_until((out / "waits").exists, process)
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=PATIENCE)
    assert output.startswith("interrupted"), errors
    assert steps(out)[-1] == 6  # the step that the signal came in
    assert finish(out, "--double") == "finished 30"

    found = read_checkpoint(out / "last.safetensors").learner["vector"]
    expected = read_checkpoint(tmp_path / "one" / "last.safetensors").learner["vector"]
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    for mine, theirs in zip(losses(out)[1:], losses(tmp_path / "one")[1:], strict=True):
        assert mine[0] == theirs[0]
        torch.testing.assert_close(float(mine[1]), float(theirs[1]), rtol=1e-12, atol=0)


def test_when_one_rank_dies_the_other_ends_with_a_message_and_not_in_a_dead_lock(tmp_path: Path) -> None:
    process = on_ranks(tmp_path / "run", "--die-at", 59)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode != 0
    assert "another training process ended before its time" in errors
    assert read_checkpoint(tmp_path / "run" / "last.safetensors").state.step == 11


def test_an_error_that_all_ranks_see_is_told_once(tmp_path: Path) -> None:
    process = on_ranks(tmp_path / "run", "--poison", 41)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    told = [line for line in errors.splitlines() if not line.startswith("step ")]
    assert len(told) == 1, errors
    assert told[0].startswith("fphi: error: the loss became nan or infinite in meta-step 9; ")


def test_the_shares_of_the_ranks_are_a_partition() -> None:
    for size in (1, 2, 3, 7):
        for count in (size, 10, 23):
            ranks = [Ranks() for _ in range(size)]
            for rank, one in enumerate(ranks):
                one.rank, one.size = rank, size
            shares = [one.share(range(100, 100 + count)) for one in ranks]
            assert [i for share in shares for i in share] == list(range(100, 100 + count))
            assert max(map(len, shares)) - min(map(len, shares)) <= 1
            whole = [one.share(range(100, 100 + count), 4) for one in ranks]
            assert [i for share in whole for i in share] == list(range(100, 100 + count))
            assert all(share.start % 4 == 0 for share in whole if len(share))


def test_the_first_process_is_told_from_the_others_by_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert in_first_process()
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert not in_first_process()
    monkeypatch.setenv("RANK", "0")
    assert in_first_process()
