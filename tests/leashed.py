"""``python leashed.py WAITS STEPS WORDS...``: the command ``fphi WORDS``, held before a step of its training.

It stops before the optimizer step number STEPS of this process, makes the file WAITS, and goes on when SIGTERM
has come. So a test can stop or kill it before its end, however fast or slow the machine is.
"""

import sys
from itertools import count
from pathlib import Path

from torch.optim.optimizer import register_optimizer_step_pre_hook

from fphi.cli.main import main
from waiting import wait_for_sigterm


def hold(waits: Path, steps: int) -> None:
    """Wait before that step of all optimizers together."""
    numbers = count(1)

    def before_step(*_: object) -> None:
        if next(numbers) == steps:
            wait_for_sigterm(waits)

    register_optimizer_step_pre_hook(before_step)


if __name__ == "__main__":
    hold(Path(sys.argv[1]), int(sys.argv[2]))
    sys.argv = ["fphi", *sys.argv[3:]]
    sys.exit(main())
