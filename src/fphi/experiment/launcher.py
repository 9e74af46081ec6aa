"""A command as a job of SLURM or of this machine: submitted, followed, saved and queued again."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from fphi.errors import FphiError
from fphi.experiment.slurm import ended_by, has_left
from fphi.run.show.say import say

__all__ = ["Job", "LaunchOptions", "submit", "without_launcher"]

_SHARED = ("timeout_min", "mem_gb", "cpus_per_task", "gpus_per_node", "name")
"""Submitit's names for what every kind of cluster has; all others are sbatch's own."""
_POLL = 0.2  # seconds
_BETWEEN_QUESTIONS = 10.0  # to SLURM; seconds
_MONTH = 30 * 24 * 60  # in minutes: this machine has no time limit


@dataclass(frozen=True)
class LaunchOptions:
    """Who starts this command.

    Args:
        launcher: slurm: it is submitted as a job, with --nodes machines of --devices processes each; local:
            as a job of this machine, which goes on when the terminal is closed. Its log is followed here;
            Ctrl-C ends the following, not the job. Needs the extra fphi[slurm].
        job: what the job asks for, as in partition=gpu,timeout_min=600,mem_gb=32,cpus_per_task=8: submitit's
            names, or those of sbatch's long options.
    """

    launcher: Literal["slurm", "local"] | None = None
    job: str | None = None

    def __post_init__(self) -> None:
        """Refuse what nobody would read."""
        if self.job is not None and self.launcher is None:
            raise FphiError(
                f"--job {self.job} says what a job asks for: give --launcher slurm, or leave it out"
            )
        own = self.parameters["slurm_additional_parameters"]
        if self.launcher == "local" and own:
            raise FphiError(
                f"--job {self.job} and --launcher local: {', '.join(own)} is for SLURM alone; a job of this "
                f"machine has {', '.join(_SHARED)}"
            )

    @property
    def parameters(self) -> dict[str, Any]:
        """Those of submitit.

        >>> LaunchOptions("slurm", "partition=gpu,timeout_min=90").parameters
        {'slurm_additional_parameters': {'partition': 'gpu'}, 'timeout_min': 90}
        """
        own: dict[str, Any] = {}
        found: dict[str, Any] = {"slurm_additional_parameters": own}
        for item in filter(None, (self.job or "").split(",")):
            name, equals, value = (part.strip() for part in item.partition("="))
            if not name or not equals or not value:
                raise FphiError(f"--job has {item!r}; it must be NAME=VALUE, separated by commas")
            name = name.replace("-", "_")
            of = found if name in _SHARED else own
            of[name] = int(value) if value.isdecimal() else value
        return found


class Job:
    """A command of fphi that can be queued again: it goes on with its run wherever that stands.

    Submitit keeps it in a file, calls it on the cluster, and asks it to `checkpoint` where the job has to
    make room (SIGUSR2, or SIGUSR1) or its time is over.

    Args:
        words: of the command, without ``--resume``.
        held: files one of which the run's folder has when there is something to go on with.
    """

    def __init__(self, words: Sequence[str], held: Sequence[Path]) -> None:
        self.words, self.held = list(words), [str(path.absolute()) for path in held]
        self._process: int | None = None

    @property
    def has_begun(self) -> bool:
        """Whether there is a run to go on with."""
        return any(Path(path).is_file() for path in self.held)

    def __call__(self) -> int:
        """Run the command to its end; its exit status."""
        resume = ["--resume"] if self.has_begun else []
        words = [word for word in self.words if word != "--resume"]
        running = subprocess.Popen([sys.executable, "-m", "fphi", *words, *resume])
        self._process = running.pid
        queue_again: Any = signal.getsignal(signal.SIGUSR2)  # submitit's: `checkpoint`, then requeue
        is_queued = False

        def terminated(number: int, frame: FrameType | None) -> None:
            nonlocal is_queued
            # SLURM sends it to all processes of a job, and more than once: what asks SLURM must outlive it.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            ended = ended_by()
            if ended == "grace":
                queue_again(number, frame)
            else:
                is_queued = ended == "requeue"
                os.kill(running.pid, signal.SIGTERM)

        handlers: Mapping[int, Any] = {signal.SIGTERM: terminated, signal.SIGUSR1: queue_again}
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            while running.poll() is None:
                time.sleep(_POLL)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if is_queued:
            raise SystemExit(130)  # without a result, which would end the following of its log
        if running.returncode not in (0, 130):
            raise RuntimeError(f"the command ended with exit status {running.returncode}; its log says why")
        return running.returncode

    def checkpoint(self, *arguments: Any, **named: Any) -> Any:
        """Let the run save where it stands; what is to be queued."""
        from submitit.helpers import DelayedSubmission

        if self._process is not None:
            os.kill(self._process, signal.SIGTERM)
            # The process is left for the one that waits for it, whom this may have interrupted.
            os.waitid(os.P_PID, self._process, os.WEXITED | os.WNOWAIT)
        return DelayedSubmission(Job(self.words, [Path(path) for path in self.held]))


def without_launcher(words: Sequence[str]) -> list[str]:
    """A command without the options of `LaunchOptions`.

    >>> without_launcher(["train", "maml", "--launcher", "slurm", "--steps", "9", "--job=time=1"])
    ['train', 'maml', '--steps', '9']
    """
    kept, skip = [], False
    for word in words:
        if skip or word.partition("=")[0] in ("--launcher", "--job"):
            skip = not skip and "=" not in word
        else:
            kept.append(word)
    return kept


def submit(
    options: LaunchOptions,
    job: Job,
    folder: Path,
    *,
    nodes: int = 1,
    devices: int = 1,
    follow: Callable[[str], None] = say,
) -> int:
    """Submit a job, and follow its log to its end.

    Args:
        options: who starts it, and what it asks for.
        job: it.
        folder: where submitit keeps its files and logs.
        nodes: machines.
        devices: processes of each.
        follow: is given each line of the log.

    Returns:
        The command's exit status; 130 where the following was ended by Ctrl-C.

    Raises:
        FphiError: submitit or SLURM is not there, a parameter is unknown, or the job failed.
    """
    executor = _executor(options, folder, nodes, devices)
    try:
        with _apart(options):
            submitted = executor.submit(job)
    except Exception as error:  # submitit's, with what sbatch said
        raise FphiError(f"--launcher {options.launcher} refuses: {' '.join(str(error).split())}") from error
    follow(f"job {submitted.job_id}; its log is {submitted.paths.stderr}")
    has_ended = submitted.done if options.launcher == "local" else _End(submitted)
    try:
        _follow(submitted, follow, has_ended)
    except KeyboardInterrupt:
        stop = f"scancel {submitted.job_id}" if options.launcher == "slurm" else f"kill {submitted.job_id}"
        follow(f"job {submitted.job_id} goes on without you; to end it: {stop}")
        return 130
    return _status(submitted)


def _status(submitted: Any) -> int:
    """The exit status of a job that has ended."""
    log = submitted.paths.stderr
    if not _has_results(submitted):
        raise FphiError(f"job {submitted.job_id} has left no result: it was killed or cancelled; see {log}")
    try:
        status: int = submitted.results()[0]
    except Exception as error:  # submitit's, of a job that failed
        told = [line.strip() for line in str(error).splitlines() if "Error: " in line]
        reason = (told or [" ".join(str(error).split())[:200]])[-1]
        raise FphiError(f"job {submitted.job_id} failed ({reason}); see {log}") from error
    return status


@contextmanager
def _apart(options: LaunchOptions) -> Iterator[None]:
    """What is started within as a job of this machine hears no Ctrl-C, and no end of the terminal."""
    deaf = (signal.SIGINT, signal.SIGHUP) if options.launcher == "local" else ()
    before = {number: signal.signal(number, signal.SIG_IGN) for number in deaf}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _alone() -> str:
    """The command of a Python that leaves the terminal's group, where there is such a thing."""
    python = shlex.quote(sys.executable)
    return f"setsid {python}" if shutil.which("setsid") else python


def _has_results(submitted: Any) -> bool:
    """Whether each of a job's processes has left what it returned or raised."""
    tasks = [submitted.task(number) for number in range(submitted.num_tasks)]
    return all(task.paths.result_pickle.exists() for task in tasks)


class _End:
    """Whether a job of SLURM has ended: with results, or gone from the queue without.

    Submitit asks ``sacct``, which knows nothing where a cluster keeps no accounts. A result may reach a
    shared folder a little later than the job leaves the queue, so that has to be found twice.
    """

    def __init__(self, submitted: Any) -> None:
        self._submitted, self._next, self._times_gone = submitted, 0.0, 0

    def __call__(self) -> bool:
        if _has_results(self._submitted):
            return True
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _BETWEEN_QUESTIONS
            self._times_gone = self._times_gone + 1 if has_left(self._submitted.job_id) else 0
        return self._times_gone > 1


def _follow(submitted: Any, follow: Callable[[str], None], has_ended: Callable[[], bool]) -> None:
    """Its log line by line, until it has ended."""
    paths = (submitted.paths.stdout, submitted.paths.stderr)
    read = dict.fromkeys(paths, 0)
    ended = False
    while not ended:
        ended = has_ended()
        for path in paths:
            if path.is_file():
                with path.open(encoding="utf-8", errors="replace") as file:
                    file.seek(read[path])
                    for line in file:
                        follow(line.rstrip("\n"))
                    read[path] = file.tell()
        time.sleep(0 if ended else _POLL)


def _executor(options: LaunchOptions, folder: Path, nodes: int, devices: int) -> Any:
    try:
        import submitit
    except ImportError as error:
        raise FphiError(
            f"submitit cannot be loaded ({error}); pip install 'fphi[slurm]', or leave --launcher out"
        ) from error
    if options.launcher == "local" and nodes > 1:
        raise FphiError(f"{nodes} machines and --launcher local: this is one; choose slurm, or --nodes 1")
    try:
        # Each time limit that is reached is a pause: the job is queued again.
        own = {"slurm_max_num_timeout": 1000} if options.launcher == "slurm" else {"local_python": _alone()}
        executor = submitit.AutoExecutor(folder, options.launcher, **own)
        usual: dict[str, Any] = {"timeout_min": _MONTH, "name": "fphi"}
        if options.launcher == "slurm":
            usual |= {"timeout_min": 60, "nodes": nodes, "tasks_per_node": devices}
        executor.update_parameters(**{**usual, **options.parameters})
    except (RuntimeError, ValueError, NameError, TypeError, AssertionError) as error:
        raise FphiError(f"--launcher {options.launcher} refuses: {' '.join(str(error).split())}") from error
    return executor
