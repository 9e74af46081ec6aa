"""Ranks that torchrun or SLURM has started, on one machine or several."""

import os
import signal
import socket
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from forked import Forked
from fphi.errors import FphiError
from fphi.run.disk.checkpoint import read_checkpoint
from fphi.run.meta.loop import Training, train
from fphi.run.meta.ranks import Machines, in_first_process, launch, started_machines
from run_fakes import FakeLearner, FakeTasks, as_torchrun_starts, distance, momentum
from waiting import wait_until

TRAINING = Training(steps=30, meta_batch=5, checkpoint_seconds=0, validate_every=7, log_every=1)


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
    return port


def start(out: Path, size: int, nodes: int, *options: object) -> list[Forked]:
    """All ranks, each as torchrun starts it."""
    port, local = free_port(), size // nodes
    return [
        Forked(
            as_torchrun_starts, "run_fakes.py", f"{rank}/{rank % local}/{size}/{local}/{port}", out, *options
        )
        for rank in range(size)
    ]


def ended(ranks: list[Forked]) -> list[tuple[str, str]]:
    return [rank.communicate() for rank in ranks]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> torch.Tensor:
    """What one rank has in the end, in float64 and without random numbers."""
    out = tmp_path_factory.mktemp("alone") / "run"
    learner = FakeLearner(dropout=0.0, dtype=torch.float64)
    tasks = FakeTasks(dtype=torch.float64)
    train(learner, momentum(learner), tasks, TRAINING, out, validate=distance, progress=False)
    return read_checkpoint(out / "last.safetensors").learner["vector"]


@pytest.mark.parametrize(("size", "nodes"), [(2, 1), (3, 3)])
def test_ranks_of_torchrun_are_one_process_up_to_rounding(
    size: int, nodes: int, alone: torch.Tensor, tmp_path: Path
) -> None:
    ranks = start(tmp_path / "run", size, nodes, "--double")
    texts = ended(ranks)
    assert [rank.returncode for rank in ranks] == [0] * size, texts
    assert [output for output, _ in texts] == ["finished 30\n", *[""] * (size - 1)]
    found = read_checkpoint(tmp_path / "run" / "last.safetensors").learner["vector"]
    torch.testing.assert_close(found, alone, rtol=1e-12, atol=0)


def test_a_run_goes_on_with_another_number_of_ranks(alone: torch.Tensor, tmp_path: Path) -> None:
    """A signal to any rank stops all."""
    out = tmp_path / "run"
    ranks = start(out, 2, 2, "--double", "--wait-at", TRAINING.meta_batch * 5)
    wait_until((out / "waits").exists, ranks[0])
    ranks[0].send_signal(signal.SIGTERM)
    assert ended(ranks)[0][0] == "interrupted 6\n"
    ranks = start(out, 3, 1, "--double")
    assert ended(ranks)[0][0] == "finished 30\n"
    found = read_checkpoint(out / "last.safetensors").learner["vector"]
    torch.testing.assert_close(found, alone, rtol=1e-12, atol=0)


@pytest.mark.parametrize("dying", [0, 2])
def test_a_machine_that_is_lost_ends_the_others_with_one_line_each(dying: int, tmp_path: Path) -> None:
    out = tmp_path / "run"
    ranks = start(out, 3, 3, "--wait-at", TRAINING.meta_batch * 5)
    wait_until((out / "waits").exists, ranks[0])
    ranks[dying].kill()
    if dying:
        ranks[0].send_signal(signal.SIGTERM)  # it waits for this
    texts = ended(ranks)
    for rank, (_, errors) in enumerate(texts):
        said = [line for line in errors.splitlines() if line.startswith("fphi: error")]
        assert len(said) == (rank != dying), texts
        assert all("another training process ended before its time" in line for line in said)
        assert ranks[rank].returncode != 0
    assert read_checkpoint(out / "last.safetensors").state.step == 5


def test_more_ranks_than_tasks_are_refused(tmp_path: Path) -> None:
    ranks = start(tmp_path / "run", 2, 1, "--batch", 1)
    texts = ended(ranks)
    assert "meta_batch is 1, and 2 processes were started; each needs a task" in texts[0][1]
    assert all(rank.returncode for rank in ranks)


TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "6", "LOCAL_WORLD_SIZE": "2", "RANK": "3"}
SLURM = {"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_NUM_NODES": "2"}


def test_what_was_started_is_told_by_the_environment() -> None:
    assert started_machines({}) is None
    assert started_machines(TORCHRUN) == Machines(3, 2)
    assert started_machines(SLURM) == Machines(2, 4)
    assert started_machines({**SLURM, "SLURM_STEP_NUM_TASKS": "1", "SLURM_STEP_NUM_NODES": "1"}) is None
    with pytest.raises(FphiError, match="8 processes on 3 machines: start equally many on each"):
        started_machines({**SLURM, "SLURM_STEP_NUM_NODES": "3"})


@pytest.mark.parametrize("environment", [TORCHRUN, SLURM])
def test_others_than_were_started_are_refused(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setitem(os.environ, name, value)
    assert not in_first_process()
    with pytest.raises(FphiError, match=r"asked for are 5 with 1; leave --nodes and --devices out"):
        launch(lambda ranks: None, machines=Machines(5, 1))


def test_machines_that_nobody_has_started_are_refused() -> None:
    with pytest.raises(FphiError, match="2 machines, and nobody has started the processes on them"):
        launch(lambda ranks: None, machines=Machines(2, 1))


def test_each_device_of_each_machine_needs_a_task() -> None:
    with pytest.raises(
        FphiError, match="meta_batch is 5 and devices 2 on each of 3 nodes; each device needs a task"
    ):
        replace(TRAINING, nodes=3, devices=2)
