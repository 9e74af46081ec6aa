"""A command that begins without some of its standard streams, as a shell's ``2>&-`` lets it begin."""

import os
import sys

from forked import Forked
from fphi.cli.main import main

__all__ = ["unheard"]

_NAMES = ("stdin", "stdout", "stderr")


def unheard(numbers: str, *words: object) -> Forked:
    """The command ``fphi WORDS`` in a process of its own, without the streams of these ``numbers``."""
    return Forked(_unheard, numbers, *words)


def _unheard() -> int:
    numbers, *words = sys.argv
    for number in map(int, numbers):
        os.close(number)
        setattr(sys, _NAMES[number], None)  # as Python finds them
    sys.argv = ["fphi", *words]
    return main()
