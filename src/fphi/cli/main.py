"""The command line: ``fphi COMMAND …``. Answers for help before anything heavy is imported."""

import io
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module

from fphi import __version__
from fphi.errors import FphiError
from fphi.run.show.say import say

__all__ = ["main"]

# name: (module and its function from arguments to an exit status, what it does)
_COMMANDS = {
    "fit": ("fit:run", "learn classes from a few examples of your own, in a folder, a zip or a table"),
    "predict": ("fit:predict", "tell the classes of new examples"),
    "train": ("train:run", "train any method, or go on with a run (--resume)"),
    "evaluate": ("evaluate:run", "test a trained run on new tasks"),
    "compare": ("compare:run", "compare runs on the same test tasks, pair by pair"),
    "search": (
        "train:search",
        "the same, for methods that search architectures",
    ),
    "tune": ("tune:run", "find a method's best options on development tasks"),
    "build": ("build:run", "show the network that a search found, and write its weights"),
    "draw": ("draw:run", "draw a test task with a run's answers, and its embedding of test classes"),
    "serve": ("serve:run", "a page in the browser: draw examples and a question, see the answer"),
    "export": ("export:run", "write what a run has learned as a file that needs no fphi"),
    "experiment": ("experiment:run", "one of the lecture's experiments: a picture and a JSON"),
    "methods": ("methods:run", "list the methods with their papers"),
    "results": ("results:run", "write the tables of kept results, or print them as CSV"),
    "data": ("data:run", "show what data is found, its counts and checks"),
    "doctor": ("doctor:run", "show what this installation computes with"),
    "demo": ("demo:run", "meta-train and test on the embedded data in a few minutes, write a report"),
}


_LARGE_PAGES = ("THP_MEM_ALLOC_ENABLE", "1")
"""Torch asks for large pages, if it is told so before it is loaded: else half the time of networks for images
of 84x84 pixels goes into taking memory page by page, on a Linux that gives large ones to those who ask."""

_SMALLER = (
    "choose a smaller --chunk-size or --meta-batch, fewer --ways, --shots or --queries, or a smaller learner "
    "(its sizes are in --help)"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0, 2 for an error of the user's, 130 after Ctrl-C."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    os.environ.setdefault(*_LARGE_PAGES)
    _hold_standard_streams()
    _print_what_can_be_printed()
    try:
        status = _run(words[0] if words else "help", words[1:])
        if sys.stdout is not None:  # as in `fphi … >&-`
            sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        say("fphi: interrupted")
        return 130
    except BrokenPipeError:
        # The reader of our output has gone (`fphi methods | head`): nothing is left to say to it.
        _say_no_more()
        return 141
    except (FphiError, OSError, MemoryError, RuntimeError) as error:
        message = _of_the_user(error)
        if message is None:
            raise
        say(f"fphi: error: {FphiError(' '.join(message.split()))}")
        return 2
    finally:
        if arguments is None:  # the program ends: another Ctrl-C ends it at once, and shows no traceback
            signal.signal(signal.SIGINT, signal.SIG_DFL)


def _of_the_user(error: Exception) -> str | None:
    """What to tell the user; None if it is not theirs to mend but a defect."""
    if isinstance(error, FphiError):
        return str(error)
    if isinstance(error, OSError):
        if error.filename is None:  # every file of ours is named, so this is the standard output
            _say_no_more()
        return f"{error.strerror or error}: {error.filename or 'the output'}; check the path and the space"
    signs = ("out of memory", "can't allocate memory")
    memory = isinstance(error, MemoryError) or any(sign in str(error) for sign in signs)
    return f"out of memory ({error}); {_SMALLER}" if memory else None


def _say_no_more() -> None:
    """Let what is still buffered for the standard output go nowhere, so that the exit is silent."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _hold_standard_streams() -> None:
    """Where one is closed, as in `fphi … 2>&-`, no file of a run may take its number, and its messages."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number is this one


def _print_what_can_be_printed() -> None:
    """A terminal that cannot show a character, as ± in ASCII, shows a question mark instead."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _run(command: str, arguments: list[str]) -> int:
    if command in ("-h", "--help", "help"):
        print(_help())
        return 0
    if command in ("-V", "--version"):
        print(f"fphi {__version__}")
        return 0
    if command not in _COMMANDS:
        raise FphiError(
            f"unknown command {command!r}: choose one of {', '.join(_COMMANDS)}, or see fphi --help"
        )
    if any(not word.strip() or (word.startswith("--") and word.strip().endswith("=")) for word in arguments):
        raise FphiError("an argument is empty; give it a value, or leave it out with its option")
    module, _, function = _COMMANDS[command][0].partition(":")
    status: int = getattr(import_module(f"fphi.cli.{module}"), function)(arguments)
    return status


def _help() -> str:
    lines = [f"  {name:<12}{text}" for name, (_, text) in _COMMANDS.items()]
    return "\n".join(
        [
            "usage: fphi COMMAND [options]",
            "",
            "fphi learns the learning algorithm: meta-learning from few examples, in PyTorch.",
            "",
            "commands:",
            *lines,
            "",
            "fphi COMMAND --help shows a command's options, fphi train METHOD --help a method's;",
            "fphi --version the version.",
        ]
    )
