"""A command as a job: of this machine in earnest, of SLURM as far as there is none."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from safetensors.torch import load_file

from cli_helpers import fphi, quietly, refused
from fphi.errors import FphiError
from fphi.experiment.launcher import Job, LaunchOptions, submit
from jobs import SMALL, in_slurm, job
from waiting import wait_until


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a job imports is what this process does."""
    pytest.importorskip("submitit", reason="needs the extra fphi[slurm]")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def rows(out: Path) -> int:
    path = out / "log.csv"
    return len(path.read_text().splitlines()) - 1 if path.exists() else 0


def children(process: int) -> list[int]:
    text = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(word) for word in text.split()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")
def test_a_job_that_has_to_make_room_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told by SIGTERM in the middle, saves, is queued again, and ends as if nothing had been."""
    import submitit

    in_slurm(tmp_path / "bin", "JobState=RUNNING", monkeypatch)
    out, steps = tmp_path / "run", 60
    executor = submitit.AutoExecutor(tmp_path / "jobs", "local")
    executor.update_parameters(timeout_min=60)
    submitted: Any = executor.submit(job(out, steps))
    wait_until(lambda: rows(out) >= 3)
    (task,) = children(int(submitted.job_id))
    os.kill(task, signal.SIGTERM)
    monkeypatch.delenv("SLURM_JOB_ID")
    quietly("train", *SMALL, "--steps", steps, "--out", tmp_path / "whole")
    assert submitted.results() == [0]
    said = submitted.stdout() + submitted.stderr()
    assert "Requeued job" in said
    assert "stopped at step" in said
    ends = [load_file(folder / "last.safetensors") for folder in (out, tmp_path / "whole")]
    assert all(bool((ends[0][name] == ends[1][name]).all()) for name in ends[1])


class QueuedAgainError(Exception):
    """What the stand-in for submitit's handler of SIGUSR2 raises."""


@pytest.mark.parametrize(
    ("number", "book", "ends"),
    [
        pytest.param(signal.SIGUSR1, "JobState=RUNNING", QueuedAgainError, id="asked-for-room"),
        pytest.param(signal.SIGUSR2, "JobState=RUNNING", QueuedAgainError, id="submitits-own"),
        pytest.param(signal.SIGTERM, "JobState=RUNNING Restarts=1", QueuedAgainError, id="preempted"),
        pytest.param(signal.SIGTERM, "JobState=COMPLETING Restarts=2", SystemExit, id="queued-by-slurm"),
        pytest.param(signal.SIGTERM, "JobState=COMPLETING Restarts=1", RuntimeError, id="cancelled"),
        pytest.param(signal.SIGTERM, "", RuntimeError, id="unknown-to-slurm"),
        pytest.param(signal.SIGTERM, None, RuntimeError, id="not-of-slurm"),
    ],
)
def test_which_signals_queue_a_job_again(
    number: int,
    book: str | None,
    ends: type[BaseException],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SIGTERM does where SLURM gives the job grace; without, SLURM has queued it; else it ends the command.

    What SLURM's books say was read off SLURM 22.05, with and without GraceTime, and after scancel.
    """
    if book is not None:
        in_slurm(tmp_path / "bin", book, monkeypatch)
    start = subprocess.Popen

    def sends_the_signal(words: list[str], **named: Any) -> Any:
        if words[0] != sys.executable:
            return start(words, **named)
        running.append(start(["sh", "-c", f"sleep 0.2; kill -{int(number)} {os.getpid()}; exec sleep 60"]))
        return running[0]

    def queue_again(number: int, frame: object) -> None:
        raise QueuedAgainError

    running: list[Any] = []
    monkeypatch.setattr("fphi.experiment.launcher.subprocess.Popen", sends_the_signal)
    before = {n: signal.getsignal(n) for n in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)}
    signal.signal(signal.SIGUSR2, queue_again)
    try:
        with pytest.raises(ends):
            job(tmp_path / "run", 1)()
        assert (running[0].poll() is None) == (ends is QueuedAgainError)
        assert signal.getsignal(signal.SIGTERM) is before[signal.SIGTERM]
    finally:
        running[0].kill()
        running[0].wait()
        signal.signal(signal.SIGUSR2, before[signal.SIGUSR2])


def test_the_command_submits_itself_and_follows_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert fphi("train", *SMALL, "--steps", "2", "--launcher", "local", "--out", "run") == 0
    said = capsys.readouterr().err
    assert "its log is" in said
    assert "2 steps in" in said
    assert Path("run/best.safetensors").is_file()
    error = refused(capsys, "train", *SMALL, "--steps", "2", "--launcher", "local", "--out", "run")
    assert error == "run already holds a run; choose another folder, or go on with --resume"
    error = refused(capsys, "train", *SMALL, "--steps", "x", "--launcher", "local", "--out", "other")
    assert "--steps is 'x'" in error  # before anything is submitted


def test_a_job_that_fails_says_what_its_command_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failed:
        """As submitit has such a job."""

        job_id = "7"
        num_tasks = 1
        paths = SimpleNamespace(stdout=tmp_path / "out", stderr=tmp_path / "err", result_pickle=tmp_path)

        def submit(self, job: Job) -> Any:
            return self

        def done(self) -> bool:
            return True

        def task(self, number: int) -> Any:
            return self

        def results(self) -> list[int]:
            raise ValueError(
                "Traceback:\n  File x\nRuntimeError: the command ended with exit status 2\n---\nlogs"
            )

    monkeypatch.setattr("fphi.experiment.launcher._executor", lambda *given: Failed())
    with pytest.raises(
        FphiError, match=r"job 7 failed \(RuntimeError: the command ended with exit status 2\); see"
    ):
        submit(LaunchOptions("local"), job(tmp_path, 1), tmp_path / "jobs", follow=lambda line: None)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it leaves its logs open
def test_submitits_debug_executor_runs_it_here(tmp_path: Path) -> None:
    import submitit

    submitted = submitit.DebugExecutor(tmp_path / "jobs").submit(job(tmp_path / "run", 2))
    assert submitted.result() == 0
    assert (tmp_path / "run" / "best.safetensors").is_file()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # its process goes on
def test_ctrl_c_ends_the_following_and_not_the_job(tmp_path: Path) -> None:
    out = tmp_path / "run"

    def follow(line: str) -> None:
        said.append(line)
        if line.startswith("step "):
            raise KeyboardInterrupt

    said: list[str] = []
    assert submit(LaunchOptions("local"), job(out, 40), tmp_path / "jobs", follow=follow_until(follow)) == 130
    wait_until((out / "best.safetensors").is_file)
    wait_until(lambda: rows(out) == 40)


def follow_until(follow: Any) -> Any:
    raised: list[bool] = []

    def once(line: str) -> None:
        if not raised:
            try:
                follow(line)
            except KeyboardInterrupt:
                raised.append(True)
                raise

    return once


def test_what_does_not_fit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FphiError, match="give --launcher slurm, or leave it out"):
        LaunchOptions(job="partition=gpu")
    with pytest.raises(
        FphiError, match=r"--launcher local: foo is for SLURM alone; .* has timeout_min, mem_gb"
    ):
        LaunchOptions("local", "timeout-min=9,foo=1")
    assert LaunchOptions("local", "timeout-min=9").parameters["timeout_min"] == 9
    with pytest.raises(FphiError, match="it must be NAME=VALUE, separated by commas"):
        submit(LaunchOptions("local", "gpu"), job(tmp_path, 1), tmp_path / "jobs")
    with pytest.raises(FphiError, match=r"2 machines and --launcher local: this is one"):
        submit(LaunchOptions("local"), job(tmp_path, 1), tmp_path / "jobs", nodes=2)
    monkeypatch.setenv("PATH", str(tmp_path))  # of a machine without SLURM
    with pytest.raises(FphiError, match=r"--launcher slurm refuses: Could not detect"):
        submit(LaunchOptions("slurm"), job(tmp_path, 1), tmp_path / "jobs")


def test_without_submitit_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(FphiError, match=r"pip install 'fphi\[slurm\]', or leave --launcher out"):
        submit(LaunchOptions("slurm"), job(tmp_path, 1), tmp_path / "jobs")
