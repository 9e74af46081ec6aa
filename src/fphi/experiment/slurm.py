"""What SLURM's books say of a job."""

import os
import shutil
import subprocess
from typing import Literal

__all__ = ["ended_by", "has_left"]


def ended_by() -> Literal["grace", "requeue", "cancel"]:
    """What a SIGTERM to the job that this process belongs to means.

    Returns:
        grace: its machines are wanted soon, and it has to queue itself again; requeue: SLURM has put it back
        into the queue already; cancel: somebody wants it ended, as always where there is no SLURM.
    """
    number = os.environ.get("SLURM_JOB_ID")
    if number is None or shutil.which("scontrol") is None:
        return "cancel"
    told = _ask("scontrol", "show", "job", "--oneliner", number).stdout.split()
    book = dict(word.split("=", 1) for word in told if "=" in word)
    if book.get("JobState") == "RUNNING":
        return "grace"
    restarts = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
    return "requeue" if int(book.get("Restarts", "0")) > restarts else "cancel"


def has_left(number: str) -> bool:
    """Whether a job neither waits nor runs. One that SLURM cannot be asked about does not count as gone."""
    told = _ask("squeue", "--noheader", "--jobs", number)
    return not told.stdout.strip() if told.returncode == 0 else "Invalid job id" in told.stderr


def _ask(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=False)
