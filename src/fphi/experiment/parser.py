"""Options: typed dataclasses become flags and the keys of a configuration file, and back."""

import os
import re
from argparse import Action
from collections.abc import Mapping, Sequence
from dataclasses import fields
from numbers import Integral, Real
from typing import Any, NoReturn, TypeVar, get_args, get_type_hints

from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace

from fphi.errors import FphiError
from fphi.ranges import Range, require_number, require_ranges

__all__ = ["Parser", "as_written", "at_least", "fields_of", "flag"]

T = TypeVar("T")


def flag(key: str) -> str:
    """How a key of a configuration file is written on the command line.

    >>> flag("train_ways"), flag("child.last_epochs")
    ('--train-ways', '--child-last-epochs')
    """
    return f"--{re.sub('[_.]', '-', key)}"


class _Help(DefaultHelpFormatter):
    """Kinds of values by their names, not as Python prints a class or a function."""

    def _get_type_str(self, action: Action) -> str | None:
        kind = super()._get_type_str(action)
        if kind is None or "<function" in kind:
            return None
        return re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", kind)


class Parser(ArgumentParser):
    """Flags from dataclasses, written with dashes and in full; every mistake is a one-line `FphiError`."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(
            prog=f"fphi {prog}",
            description=description,
            exit_on_error=False,
            allow_abbrev=False,
            formatter_class=_Help,
        )

    def add_dataclass(self, cls: type, key: str = "") -> None:
        """A flag for each field, its help from the docstring; under ``key``, ``--KEY-FIELD`` each."""
        self.add_class_arguments(cls, key or None)
        for action in self._actions:
            for written in [f for f in action.option_strings if f.startswith("--")]:
                dashed = flag(written[2:])
                if dashed not in action.option_strings:
                    action.option_strings = [dashed, *action.option_strings]
                    self._option_string_actions[dashed] = action

    def add_option(self, name: str, kind: type, default: object, text: str) -> None:
        """A flag that belongs to no dataclass."""
        self.add_argument(name, type=kind, default=default, help=text)

    def begin_with(self, values: Mapping[str, Any]) -> None:
        """Take values of a configuration file in place of the defaults."""
        self.set_defaults(_flat(self.check(values)))

    def read(self, arguments: Sequence[str]) -> Namespace:
        """Parse, or raise an error that says what was wrong and where help is."""
        try:
            return self.parse_args(list(arguments))
        except FphiError:
            raise
        except Exception as error:  # jsonargparse's errors have no common base but this
            self.error(str(error))

    def given(self, arguments: Sequence[str]) -> frozenset[str]:
        """The options among arguments that `read` has taken, by the keys of a configuration file."""
        return frozenset(_flat(self.parse_args(list(arguments), defaults=False).as_dict()))

    def check(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Values of a file or of Python, checked as the command line's are; defaults where there are none."""
        try:
            checked: dict[str, Any] = self.parse_object(as_written(values)).as_dict()
        except FphiError:
            raise
        except Exception as error:
            self.error(str(error))
        return checked

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise instead of printing the usage and exiting."""
        raise FphiError(f"{_plain(' '.join(str(message).split()))}; see {self.prog} --help")


def as_written(value: Any) -> Any:
    """A value of Python's as a file of options has it: paths are texts, and NumPy's numbers are Python's.

    >>> from pathlib import Path
    >>> as_written({"data_root": Path("data"), "train": [True, 3]})
    {'data_root': 'data', 'train': [True, 3]}
    """
    if isinstance(value, Mapping):
        return {key: as_written(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [as_written(item) for item in value]
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, bool):
        return value
    return int(value) if isinstance(value, Integral) else float(value) if isinstance(value, Real) else value


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


_WRONG_VALUE = re.compile(r'Parser key "([\w.]+)": (.*?)\.? (?:Got|Given) value: (.*)')
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
    return f"{flag(name)} is {value!r}; it must be {expected}" if expected else message


def at_least(lowest: int, most: int = 1_000_000, **options: int | None) -> None:
    """Raise an `FphiError` that names the first option whose value is not from ``lowest`` to ``most``."""
    for name, value in options.items():
        if value is not None:
            require_number(flag(name), value, Range(lowest, most))


def fields_of(cls: type[T], values: Mapping[str, Any], key: str = "") -> T:
    """An instance of a dataclass from the values that carry its fields' names; ``key``: of the group."""

    def named(name: str) -> str:
        return flag(f"{key}.{name}" if key else name)

    for name, hint in get_type_hints(cls).items():
        if name in values and values[name] is None and type(None) not in get_args(hint):
            raise FphiError(f"{named(name)} is null; give it a value, or leave it out")
    given = {f.name: values[f.name] for f in fields(cls) if f.init and f.name in values}  # type: ignore[arg-type]
    require_ranges(cls, given, named)
    return cls(**given)
