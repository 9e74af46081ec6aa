"""A command that is held before a step of its training.

It stops before that optimizer step of its process, makes a file, and goes on when SIGTERM has come. So a test
can stop or kill it before its end, however fast or slow the machine is.
"""

import sys
from itertools import count
from pathlib import Path

from torch.optim.optimizer import register_optimizer_step_pre_hook

from forked import Forked
from fphi.cli.main import main
from waiting import wait_for_sigterm

__all__ = ["held"]


def held(waits: Path, steps: int, *words: object) -> Forked:
    """The command ``fphi WORDS`` in a process of its own.

    Args:
        waits: the file that it makes when it waits.
        steps: the step before which it does.
        words: of the command.
    """
    return Forked(_held, waits, steps, *words)


def _held() -> int:
    waits, steps, *words = sys.argv
    numbers = count(1)

    def before_step(*_: object) -> None:
        if next(numbers) == int(steps):
            wait_for_sigterm(Path(waits))

    register_optimizer_step_pre_hook(before_step)
    sys.argv = ["fphi", *words]
    return main()
