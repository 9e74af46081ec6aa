"""What the tests of jobs share: a small command, and stand-ins for the programs of SLURM."""

import os
from pathlib import Path

import pytest

from fphi.experiment.launcher import Job

SMALL = (
    *(
        "prototypical",
        "--meta-batch",
        "1",
        "--validation-tasks",
        "2",
        "--train-ways",
        "5",
        "--network",
        "mlp",
    ),
    *("--threads", "1", "--log-every", "1", "--checkpoint-seconds", "0"),
)


def job(out: Path, steps: int) -> Job:
    return Job(["train", *SMALL, "--steps", str(steps), "--out", str(out)], [out / "last.safetensors"])


def tool(folder: Path, name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for a program of SLURM: a shell script."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)
    if not os.environ["PATH"].startswith(str(folder)):
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def in_slurm(folder: Path, book: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process be in job 7, of which SLURM's books say this."""
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    answer = f'test "$*" = "show job --oneliner 7" && kill -TERM $PPID $$ && echo JobId=7 {book}'
    tool(
        folder, "scontrol", answer, monkeypatch
    )  # a signal of SLURM reaches this process too, and comes twice


def submits(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let SLURM take a job as the seventh."""
    tool(folder / "bin", "sbatch", f"cp $1 {folder}/script; echo Submitted batch job 7", monkeypatch)
    tool(folder / "bin", "srun", "true", monkeypatch)
