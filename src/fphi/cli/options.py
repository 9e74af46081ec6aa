"""Options: typed dataclasses become flags, a configuration file, and back."""

import argparse
import os
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NoReturn, Self, TypeVar, get_args, get_type_hints

from jsonargparse import ArgumentParser, Namespace

from fphi.errors import FphiError
from fphi.tasks import (
    NAMED,
    Distortion,
    EpisodeShape,
    Order,
    Reduction,
    Rotation,
    TaskDistribution,
    TrainingChanges,
    load_tasks,
)

__all__ = [
    "Parser",
    "TaskOptions",
    "at_least",
    "command_line",
    "fields_of",
    "look_ahead",
    "require_no_folder",
]

T = TypeVar("T")


@dataclass(frozen=True)
class TaskOptions:
    """Which tasks to learn from and to be tested on.

    Args:
        tasks: omniglot, hershey (embedded, needs no download), sine, or the path of a folder or zip of
            images with one folder per class.
        data_root: folder that data sets are looked for in; the environment variable FPHI_DATA if not given.
        protocol: how classes are split and tasks are made; the data's usual one if not given (omniglot:
            P-MAML, hershey: alphabet, images: fraction).
        ways: classes of a task.
        shots: support examples of each class.
        queries: query examples of each class; the protocol's number if not given.
        image_size: pixels of a side of the images; omniglot has up to 105, hershey 28.
        image_reduction: how omniglot's drawings become images of that size. nearest: a pixel is the nearest
            of the drawing (two values, as in the literature). area: the mean over its area (grey levels).
        train_on_validation: whether validation classes join the training classes, for a last training when
            all options are chosen; the test tasks stay the same.
        train_rotation: quarter turns in training tasks, if not the protocol's: of each "class", of a whole
            "episode", or as "classes" of their own, or those of mirror images too ("mirrored").
        train_distortion: of the images of training tasks, if not the protocol's: copies under an "affine"
            map, under two ("affine-twice"), under one of the class and one of the image ("affine-class"), or
            those bent smoothly besides ("elastic").
        train_within_group: whether the classes of a training task are of one group (alphabet), if not as
            the protocol has it.
    """

    tasks: str = "hershey"
    data_root: str | None = None
    protocol: str | None = None
    ways: int = 5
    shots: int = 1
    queries: int | None = None
    image_size: int = 28
    image_reduction: Reduction = "nearest"
    train_on_validation: bool = False
    train_rotation: Rotation | None = None
    train_distortion: Distortion | None = None
    train_within_group: bool | None = None

    def located(self) -> Self:
        """With the path of a folder or zip in full, so that it is found from any folder."""
        known = self.tasks in NAMED or not Path(self.tasks).exists()
        return self if known else replace(self, tasks=str(Path(self.tasks).absolute()))

    def load(
        self,
        seed: int,
        train_shape: EpisodeShape | None = None,
        train_order: Order = "classes",
        splits: Sequence[str] | None = None,
    ) -> TaskDistribution:
        """The tasks of these splits, or of all; task i of a split is a function of (seed, split, i)."""
        at_least(1, image_size=self.image_size)
        at_least(2, ways=self.ways)
        return load_tasks(
            self.tasks,
            data_root=self.data_root or os.environ.get("FPHI_DATA"),
            protocol=self.protocol,
            ways=self.ways,
            shots=self.shots,
            queries=self.queries,
            seed=seed,
            train_shape=train_shape,
            train_order=train_order,
            image_size=self.image_size,
            train_on_validation=self.train_on_validation,
            image_reduction=self.image_reduction,
            changes=TrainingChanges(self.train_rotation, self.train_distortion, self.train_within_group),
            splits=splits,
        )


class Parser(ArgumentParser):
    """Flags from dataclasses, written with dashes and in full; every mistake is a one-line `FphiError`."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(
            prog=f"fphi {prog}", description=description, exit_on_error=False, allow_abbrev=False
        )

    def add_dataclass(self, cls: type) -> None:
        """A flag for each field, its help from the docstring."""
        self.add_class_arguments(cls)
        for action in self._actions:
            for flag in [f for f in action.option_strings if f.startswith("--") and "_" in f]:
                dashed = flag.replace("_", "-")
                if dashed not in action.option_strings:
                    action.option_strings = [dashed, *action.option_strings]
                    self._option_string_actions[dashed] = action

    def read(self, arguments: Sequence[str]) -> Namespace:
        """Parse, or raise an error that says what was wrong and where help is."""
        try:
            return self.parse_args(list(arguments))
        except FphiError:
            raise
        except Exception as error:  # jsonargparse's errors have no common base but this
            self.error(str(error))

    def check(self, values: dict[str, Any]) -> dict[str, Any]:
        """Values from a file, checked like those of the command line; defaults where there are none."""
        try:
            checked: dict[str, Any] = self.parse_object(values).as_dict()
        except FphiError:
            raise
        except Exception as error:
            self.error(str(error))
        return checked

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise instead of printing the usage and exiting."""
        raise FphiError(f"{_plain(' '.join(str(message).split()))}; see {self.prog} --help")


_WRONG_VALUE = re.compile(r'Parser key "(\w+)": (.*?)\.? (?:Got|Given) value: (.*)')
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "tuple": "a list such as [3,4]",
}


def _plain(message: str) -> str:
    """What jsonargparse says of a wrong value, in the words of the command line.

    >>> _plain('''Parser key "log_every": Expected a <class 'int'>. Got value: x''')
    "--log-every is 'x'; it must be a whole number"
    """
    match = _WRONG_VALUE.search(message)
    if match is None:
        return message
    name, reason, value = match.groups()
    choices = re.search(r"Literal\[(.*?)\]", reason)
    kinds = [_KINDS[kind] for kind in re.findall(r"Expected an? <class '(\w+)'>", reason) if kind in _KINDS]
    expected = f"one of {choices[1]}".replace("'", "") if choices else " or ".join(kinds)
    return f"--{name.replace('_', '-')} is {value!r}; it must be {expected}" if expected else message


def look_ahead(arguments: Sequence[str], out: Path, **texts: str | None) -> argparse.Namespace:
    """The options that decide which others there are and which files are read: config, out, resume.

    Args:
        arguments: of the command.
        out: the usual value of ``--out``.
        texts: further options by name, with their usual values.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--config", type=Path, action="append", default=[])
    parser.add_argument("--out", type=Path, default=out)
    parser.add_argument("--resume", action="store_true")
    for name, usual in texts.items():
        parser.add_argument(f"--{name.replace('_', '-')}", default=usual)
    try:
        return parser.parse_known_args(arguments)[0]
    except argparse.ArgumentError:  # the real parser will say what it is
        return argparse.Namespace(config=[], out=out, resume=False, **texts)


def at_least(lowest: int, **options: int | None) -> None:
    """Raise an `FphiError` that names the first option whose value is below ``lowest``."""
    for name, value in options.items():
        if value is not None and value < lowest:
            raise FphiError(f"--{name.replace('_', '-')} is {value}; it must be at least {lowest}")


def require_no_folder(path: Path | None) -> None:
    """Raise before the work begins if ``path``, to be written at its end, is a folder."""
    if path is not None and path.is_dir():
        raise FphiError(f"{path} is a folder; give the name of a file to write")


def fields_of(cls: type[T], values: Namespace | dict[str, Any]) -> T:
    """An instance of a dataclass from the values that carry its fields' names."""
    given = dict(values.items())
    for name, hint in get_type_hints(cls).items():
        if name in given and given[name] is None and type(None) not in get_args(hint):
            raise FphiError(f"--{name.replace('_', '-')} is null; give it a value, or leave it out")
    return cls(**{f.name: given[f.name] for f in fields(cls) if f.init and f.name in given})  # type: ignore[arg-type]


def command_line() -> str | None:
    """The command as it was typed, to be repeated; None where another program called."""
    return shlex.join(["fphi", *sys.argv[1:]]) if Path(sys.argv[0]).name == "fphi" else None
