"""The command line: ``fphi COMMAND …``. Answers for help before anything heavy is imported."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from fphi import __version__
from fphi.errors import FphiError

__all__ = ["main"]

# name: (module with `run(arguments) -> exit status`, what it does)
_COMMANDS = {
    "train": ("fphi.cli.train", "meta-train a method on tasks, or go on with a run (--resume)"),
    "evaluate": ("fphi.cli.evaluate", "test a trained run on new tasks"),
    "compare": ("fphi.cli.compare", "compare runs on the same test tasks, pair by pair"),
    "methods": ("fphi.cli.methods", "list the methods with their papers and measured accuracies"),
    "data": ("fphi.cli.data", "show what data is found, its counts and checks"),
    "demo": ("fphi.cli.demo", "meta-train and test on the embedded data in a few minutes, write a report"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0, 2 for an error of the user's, 130 after Ctrl-C."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if words[0] in ("-V", "--version"):
        print(f"fphi {__version__}")
        return 0
    try:
        return _run(words[0], words[1:])
    except FphiError as error:
        print(f"fphi: error: {_one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("fphi: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output has gone (`fphi methods | head`): nothing is left to say to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _run(command: str, arguments: list[str]) -> int:
    if command not in _COMMANDS:
        raise FphiError(
            f"unknown command {command!r}: choose one of {', '.join(_COMMANDS)}, or see fphi --help"
        )
    module = import_module(_COMMANDS[command][0])
    status: int = module.run(arguments)
    return status


def _help() -> str:
    lines = [f"  {name:<10}{text}" for name, (_, text) in _COMMANDS.items()]
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


def _one_line(error: FphiError) -> str:
    return " ".join(str(error).split())
