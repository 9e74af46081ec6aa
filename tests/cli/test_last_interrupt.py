"""Ctrl-C when a command has said its last word, and the interpreter is about to end."""

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import signal, sys
import fphi.cli.main as m
from fphi.errors import FphiError

def run(*_):
    {does}

m._run = run
sys.argv = ["fphi", "train"]
print(m.main(), flush=True)
signal.raise_signal(signal.SIGINT)
"""


@pytest.mark.parametrize(
    ("does", "status", "said"),
    [
        ("raise KeyboardInterrupt", 130, "fphi: interrupted\n"),
        ("raise FphiError('no')", 2, "fphi: error: no\n"),
        ("return 0", 0, ""),
        ("return 130", 130, ""),
    ],
)
def test_an_interrupt_at_the_end_shows_no_traceback(does: str, status: int, said: str) -> None:
    program = PROGRAM.replace("{does}", does)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, f"{status}\n", said)
