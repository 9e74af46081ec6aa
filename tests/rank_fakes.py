"""A first rank that is killed when it has started another."""

import os
import signal
import sys
import time
from pathlib import Path

from fphi.run.meta.ranks import _watch_each_other
from waiting import PATIENCE, wait_until

__all__ = ["first_rank"]


def first_rank() -> None:
    """Its command line is the file in which it tells the number of the other's process."""
    named = Path(sys.argv[0])
    os.environ |= {"LOCAL_RANK": "1", "FPHI_FIRST_RANK": str(os.getpid())}
    if os.fork() == 0:
        _watch_each_other()
        named.with_suffix(".new").write_text(str(os.getpid()))
        named.with_suffix(".new").rename(named)
        time.sleep(2 * PATIENCE)
    wait_until(named.exists)
    os.kill(os.getpid(), signal.SIGKILL)
