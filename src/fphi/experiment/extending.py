"""A run that has ended goes on to more steps than it was to have, and keeps the commands that made it."""

import shlex
from pathlib import Path

from fphi.errors import FphiError
from fphi.experiment.config import CONFIG, Config, read_run
from fphi.report.files import read_text
from fphi.run.disk.checkpoint import BEST, LAST, read_checkpoint, sign_again
from fphi.run.disk.directory import beside
from fphi.run.disk.files import write_text
from fphi.run.meta.training import Training

__all__ = ["COMMAND", "command_again", "commands_of", "extend", "extended_at", "is_extended", "require_ended"]

COMMAND = "command.txt"
"""The commands that made a run, one a line: the first began it, each further one gave it more steps."""


def command_again(out: Path) -> str:
    """What does again, in the folder beside it, what the run in ``out`` did."""
    return shlex.join(["fphi", "train", "--config", str(out / CONFIG), "--out", str(beside(out, "again"))])


def is_extended(config: Config, out: Path) -> bool:
    """Whether a configuration asks for more steps than the run in ``out`` was to have."""
    asked = config.part(Training).steps
    return bool(read_run(out).get("steps", asked) != asked)


def require_ended(out: Path, steps: int) -> None:
    """Raise an `FphiError` unless the run in ``out`` has done the steps that it was to do."""
    done = read_checkpoint(out / LAST).state.step
    if done < steps:
        raise FphiError(
            f"{out} has done {done} of {steps} steps; resume it without --steps first: "
            "the learning rate falls along all of them"
        )


def extend(config: Config, out: Path, command: str | None) -> None:
    """Let a run that has ended go on to more steps: its configuration, checkpoint and best parameters say so.

    Args:
        config: with the steps that are asked for now; a run that was to have as many stays as it is.
        out: the folder, which is this process's own.
        command: that was typed; None: another program asked for it.

    Raises:
        FphiError: the run has not done the steps that it was to do.
    """
    if not is_extended(config, out):
        return
    before = int(read_run(out)["steps"])
    require_ended(out, before)
    # The configuration last: until it says so, the same command does all of this again, wherever it stopped.
    for name in (LAST, BEST):
        sign_again(out / name, config.fingerprint(out))
    commands = [_with_steps(line, before) for line in commands_of(out)]
    further = _with_steps(command or _going_on(config, out, commands), config.part(Training).steps)
    if further not in commands:
        commands.append(further)
    write_text(out / COMMAND, "\n".join(commands) + "\n")
    write_text(out / CONFIG, config.to_yaml(out))


def commands_of(run: Path) -> list[str]:
    """The commands that made a run, one after another; none where they are not known."""
    try:
        return [line for line in read_text(run / COMMAND).splitlines() if line.strip()]
    except FphiError:
        return []


def extended_at(run: Path) -> list[int]:
    """After how many steps a run was given more, as its commands tell."""
    steps = [_option(line, "--steps") for line in commands_of(run)[:-1]]
    return [int(number) for number in steps if number is not None and number.isdigit()]


def _with_steps(line: str, steps: int) -> str:
    """A command that says how many, whatever the configuration that it names says by now."""
    return line if _option(line, "--steps") else f"{line} --steps {steps}"


def _going_on(config: Config, out: Path, commands: list[str]) -> str:
    """What gives more steps to what the commands have made."""
    again = _option(commands[-1], "--out") if commands else None
    files = [word for key, path in config.files.items() if key != "method" for word in (f"--{key}", path)]
    words = ["fphi", "train", config.name, *files, "--out", again or str(beside(out, "again")), "--resume"]
    return shlex.join(words)


def _option(line: str, flag: str) -> str | None:
    """The value of an option in a command; None: it has none."""
    try:
        words = [part for word in shlex.split(line) for part in word.split("=", 1)]
    except ValueError:  # edited by hand
        return None
    return words[words.index(flag) + 1] if flag in words[:-1] else None
