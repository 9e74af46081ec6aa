"""The progress line on stderr: alive on a terminal, one plain line now and then elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Protocol, cast

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from fphi.run.meta.training import Training
from fphi.run.show.say import Voice, say

__all__ = ["ProgressLine", "duration", "progress_line", "speed_and_time_left"]


class ProgressLine(Protocol):
    """Shows how far the training is; called after every meta-step."""

    def __call__(self, step: int, loss: float, accuracy: float | None) -> None: ...


@contextmanager
def progress_line(start: int, training: Training, show: bool = True) -> Iterator[ProgressLine]:
    """A function to call after each meta-step; off a terminal it prints every ``log_every`` of them.

    Args:
        start: meta-steps done in earlier sessions.
        training: how many there are, and how many tasks in each.
        show: False is silent.
    """
    began, steps, meta_batch = time.monotonic(), training.steps, training.meta_batch

    def describe(step: int, loss: float, accuracy: float | None) -> str:
        measured = "" if accuracy is None else f"  validation accuracy {accuracy:.2%}"
        speed, _ = speed_and_time_left(step - start, steps - step, meta_batch, time.monotonic() - began)
        return f"step {step}/{steps}  loss {loss:.4f}{measured}  {speed:.0f} tasks/s"

    def nothing(step: int, loss: float, accuracy: float | None) -> None:
        pass

    def plain(step: int, loss: float, accuracy: float | None) -> None:
        if step % training.log_every and step < steps:
            return
        _, left = speed_and_time_left(step - start, steps - step, meta_batch, time.monotonic() - began)
        say(f"{describe(step, loss, accuracy)}  {duration(left)} left")

    if not show:
        yield nothing
    elif not Voice().isatty():
        yield plain
    else:
        columns = (
            BarColumn(),
            TextColumn("{task.description}", markup=False),
            TimeRemainingColumn(compact=True),
        )
        with Progress(*columns, console=Console(file=cast(IO[str], Voice()), force_terminal=True)) as bar:
            task = bar.add_task("starting", total=steps, completed=start)
            yield lambda step, loss, accuracy: bar.update(
                task, completed=step, description=describe(step, loss, accuracy)
            )


def speed_and_time_left(done: int, to_do: int, meta_batch: int, seconds: float) -> tuple[float, float]:
    """Tasks per second, and the seconds that ``to_do`` meta-steps will take at that speed.

    >>> speed_and_time_left(done=10, to_do=5, meta_batch=32, seconds=4.0)
    (80.0, 2.0)
    """
    if done == 0 or seconds == 0:
        return 0.0, 0.0
    return done * meta_batch / seconds, to_do * seconds / done


def duration(seconds: float) -> str:
    """Hours, minutes and seconds.

    >>> duration(3725.4)
    '1:02:05'
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
