"""What the commands share: the words that decide which options there are, and small checks."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from fphi.errors import FphiError
from fphi.experiment.parser import Parser

__all__ = ["add_files", "command_line", "files_named", "look_ahead", "require_no_folder"]

_FILES = {
    "method": "the run's method, where it is in a file: FILE.py:NAME",
    "network": "the run's network, where it is in a file: FILE.py:NAME",
}


def look_ahead(arguments: Sequence[str], *names: str) -> argparse.Namespace:
    """The options that decide which others there are and which files are read: config, out, resume.

    Args:
        arguments: of the command.
        names: further options.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--config", type=Path, action="append", default=[])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--resume", action="store_true")
    for name in names:
        parser.add_argument(f"--{name.replace('_', '-')}")
    try:
        return parser.parse_known_args(arguments)[0]
    except argparse.ArgumentError:  # the real parser will say what it is
        return argparse.Namespace(config=[], out=None, resume=False, **dict.fromkeys(names))


def add_files(parser: Parser, **others: str) -> None:
    """The options that name what a run has in files of Python; ``others`` says more of some."""
    for name, text in (_FILES | others).items():
        parser.add_option(f"--{name}", str, None, text)


def files_named(options: object) -> dict[str, str]:
    """What a command names of what is in files of Python."""
    given = {key: getattr(options, key, None) for key in (*_FILES, "tasks")}
    return {key: value for key, value in given.items() if value is not None}


def require_no_folder(path: Path | None) -> None:
    """Raise before the work begins if ``path``, to be written at its end, is a folder."""
    if path is not None and path.is_dir():
        raise FphiError(f"{path} is a folder; give the name of a file to write")


def command_line() -> str | None:
    """The command as it was typed, to be repeated; None where another program called."""
    return shlex.join(["fphi", *sys.argv[1:]]) if Path(sys.argv[0]).name == "fphi" else None
