"""What is asked of SLURM and how its answers are taken, with stand-ins for its programs."""

import os
import sys
from pathlib import Path

import pytest

from fphi.errors import FphiError
from fphi.experiment.launcher import LaunchOptions, submit
from fphi.experiment.slurm import has_left
from jobs import job, submits, tool


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a job imports is what this process does."""
    pytest.importorskip("submitit", reason="needs the extra fphi[slurm]")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def test_a_job_that_left_slurm_without_a_result_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled before it began, for example; SLURM is asked, since a cluster may keep no accounts."""
    submits(tmp_path, monkeypatch)
    asked = tmp_path / "asked"
    tool(
        tmp_path / "bin",
        "squeue",
        f"echo $* >> {asked}; test -e {asked}.2 || echo 7; touch {asked}.2",
        monkeypatch,
    )
    monkeypatch.setattr("fphi.experiment.launcher._BETWEEN_QUESTIONS", 0)
    with pytest.raises(FphiError, match="job 7 has left no result: it was killed or cancelled; see"):
        submit(LaunchOptions("slurm"), job(tmp_path, 1), tmp_path / "jobs", follow=lambda line: None)
    assert asked.read_text().splitlines() == ["--noheader --jobs 7"] * 3


@pytest.mark.parametrize(
    ("answer", "left"),
    [
        pytest.param("echo 7 requeue fphi root R", False, id="runs"),
        pytest.param("true", True, id="ended"),
        pytest.param(
            "echo slurm_load_jobs error: Invalid job id specified >&2; exit 1", True, id="forgotten"
        ),
        pytest.param("echo Unable to contact slurm controller >&2; exit 1", False, id="not-to-be-asked"),
    ],
)
def test_whether_a_job_has_left_slurm(
    answer: str, left: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool(tmp_path / "bin", "squeue", answer, monkeypatch)
    assert has_left("7") is left


def test_what_sbatch_refuses_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool(tmp_path / "bin", "sbatch", "echo sbatch: error: invalid partition: gpu >&2; exit 1", monkeypatch)
    tool(tmp_path / "bin", "srun", "true", monkeypatch)
    with pytest.raises(FphiError, match="slurm refuses: sbatch: error: invalid partition: gpu") as refused:
        submit(LaunchOptions("slurm", "partition=gpu"), job(tmp_path, 1), tmp_path / "jobs")
    assert "\n" not in str(refused.value)


def test_slurm_is_asked_for_machines_and_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for sbatch, which notes what it was given."""
    submits(tmp_path, monkeypatch)

    def stop(line: str) -> None:
        raise KeyboardInterrupt

    options = LaunchOptions("slurm", "partition=gpu,timeout_min=90,mem_gb=8,begin=now+60")
    with pytest.raises(KeyboardInterrupt):
        submit(options, job(tmp_path, 1), tmp_path / "jobs", nodes=2, devices=4, follow=stop)
    asked = (tmp_path / "script").read_text()
    for line in (
        "--nodes=2",
        "--ntasks-per-node=4",
        "--partition=gpu",
        "--time=90",
        "--mem=8GB",
        "--begin=now+60",
    ):
        assert f"#SBATCH {line}" in asked, asked
