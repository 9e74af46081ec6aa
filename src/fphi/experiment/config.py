"""The configuration of a run, few-shot training and search alike: typed here, flat in ``config.yaml``."""

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Self, TypeVar

import yaml

from fphi.errors import FphiError
from fphi.experiment.parser import fields_of, flag
from fphi.experiment.plain import is_group, is_plain, is_plain_group
from fphi.experiment.plugins import in_file, is_in_file
from fphi.experiment.schema import Schema, named_in
from fphi.learnable.augmentation import PUBLISHED
from fphi.learnable.space import Space
from fphi.methods.base import FewShotMethod, Method
from fphi.report.files import read_text
from fphi.tasks import GIVEN, NAMED
from fphi.tasks.supervised import SUPERVISED

__all__ = [
    "CONFIG",
    "FROM_FILES",
    "Config",
    "has_tasks",
    "read_run",
    "read_values",
    "tasks_in_full",
    "written_fingerprint",
]

T = TypeVar("T")

CONFIG = "config.yaml"
FROM_FILES = ("method", "network", "tasks")  # may be ``FILE.py:NAME``
# What may differ between the command that began a run and the one that goes on with it.
_FREE = {"checkpoint_seconds", "max_time", "logger", "tensorboard", "data_root"}
_FREE |= {"executor", "workers", "ray_address", "ray_cpus", "ray_gpus"}
# Theirs is a part in the digest of old runs: what goes on with a run on other devices is signed as it began.
_OTHER_MACHINES = {"devices", "nodes"}
_PATHS = {"method", "network", "few_shot", "tasks", "data", "augmentation"}
_ALWAYS_PATHS = {"start_from", "weights", "clean", "data_root"}
_NAMES = {"tasks": (*NAMED, GIVEN), "data": tuple(SUPERVISED), "augmentation": tuple(PUBLISHED)}


@dataclass(frozen=True)
class Config:
    """Everything that a run is made of: a method with its options, and the options that its kind of run has.

    Args:
        schema: which options there are.
        parts: their values, in the order of the schema.
    """

    schema: Schema
    parts: tuple[object, ...]

    @property
    def name(self) -> str:
        """The method as it was named: by its title, or as ``FILE.py:NAME``."""
        return self.schema.name

    @property
    def method(self) -> Method:
        """With its options."""
        return self.part(self.schema.method)

    @property
    def learner(self) -> tuple[str, FewShotMethod] | None:
        """Of a search for the networks of a few-shot learner: its name, and the learner with its options."""
        if self.schema.few_shot is None:
            return None
        name, cls = self.schema.few_shot
        return name, self.part(cls)

    @property
    def space(self) -> Space:
        """Of a search."""
        return next(part for part in self.parts if isinstance(part, Space))

    def part(self, cls: type[T]) -> T:
        """The options of one kind."""
        return next(part for part in self.parts if isinstance(part, cls))

    def has(self, cls: type) -> bool:
        """Whether a run of this kind has such options."""
        return any(isinstance(part, cls) for part in self.parts)

    def having(self, part: object) -> Self:
        """With other options of one kind."""
        return replace(self, parts=tuple(part if type(p) is type(part) else p for p in self.parts))

    @classmethod
    def of(cls, schema: Schema, values: Mapping[str, Any]) -> Self:
        """From values by name, as the parser gives them."""
        parts: list[object] = [
            fields_of(kind, values[key] if key else values, key) for key, kind in schema.parts
        ]
        return cls(schema, tuple(parts))

    @classmethod
    def read(
        cls,
        run: Path,
        *,
        allowed: Mapping[str, str] | None = None,
        command: str = "",
        needed: Collection[str] = FROM_FILES,
    ) -> Self:
        """Read a run's ``config.yaml``.

        Args:
            run: the folder.
            allowed: what the command names of what is in files of Python, by option.
            command: how the user can name it, for the message; the command that evaluates if not given.
            needed: what of it the command runs; the others stay as they are written, unless it names them.

        Raises:
            FphiError: it is missing, damaged, holds what no option can be, or names a file of Python that the
                command does not.
        """
        path, values, named = run / CONFIG, read_run(run), allowed or {}
        for key in FROM_FILES:
            if is_in_file(values.get(key)) and (key in needed or key in named):
                values[key] = _allowed(run, key, values[key], named, command or f"fphi evaluate {run}")
        try:
            schema = Schema.named(**named_in(values))
            return cls.of(schema, schema.parser("train").check(schema.known(values)))
        except FphiError as error:
            raise FphiError(f"{path} is damaged ({error}); restore it") from error

    @property
    def files(self) -> dict[str, str]:
        """What is in files of Python, by option; every command has to name it."""
        values = self.to_dict()
        return {key: values[key] for key in FROM_FILES if is_in_file(values.get(key))}

    def to_dict(self) -> dict[str, Any]:
        """In the order of the command line; what decides which options there are comes first."""
        values: dict[str, Any] = dict(self.schema.names)
        for (key, _), part in zip(self.schema.parts, self.parts, strict=True):
            own = asdict(part)  # type: ignore[call-overload]
            values |= {key: own} if key else own
        return values

    def to_yaml(self, run: Path) -> str:
        """The text of ``config.yaml`` in the folder ``run``, which paths are relative to."""
        return yaml.safe_dump(self._written(run), sort_keys=False)

    def fingerprint(self, run: Path) -> str:
        """A digest of all that decides the course of the run in this folder."""
        return _digest(self._written(run))

    def decisive(self, run: Path) -> dict[str, Any]:
        """All that decides the course of the run in this folder but the seed, as in ``config.yaml``."""
        left_out = {*_FREE, *_OTHER_MACHINES, "seed"}
        return {key: value for key, value in self._written(run).items() if key not in left_out}

    def _written(self, run: Path) -> dict[str, Any]:
        start = run.absolute()
        written = _relocated(self.to_dict(), lambda path: _relative(path, start))
        return {key: _plain(value) for key, value in written.items()}

    def require_same(self, begun: "Config", run: Path, *, may_grow: bool = False) -> None:
        """Raise an `FphiError` unless this goes on with what began in ``run``.

        Args:
            begun: the configuration there.
            run: the folder.
            may_grow: whether more steps may be asked for, as of a run that has ended.
        """
        before, now = _flat(begun.to_dict()), _flat(self.to_dict())
        for key in (*before, *(key for key in now if key not in before)):
            old, new = before.get(key), now.get(key)
            if key in _FREE | _OTHER_MACHINES or old == new:
                continue
            if key == "steps" and may_grow and isinstance(new, int) and new > (old or 0):
                continue
            began = f"without {key}, not with" if old is None else f"with {key} {old}, not"
            raise FphiError(
                f"{run} began {began} {new}; resume it without {flag(key)}, or choose another folder"
            )


def read_run(run: Path) -> dict[str, Any]:
    """The options that a run was trained with, as its ``config.yaml`` has them, with paths in full.

    Raises:
        FphiError: there is none, or a damaged one.
    """
    path = run / CONFIG
    if not path.is_file():
        raise FphiError(f"{run} is no run directory (no {CONFIG}): give the --out of an fphi train")
    return read_values(path)


def read_values(path: Path) -> dict[str, Any]:
    """The options in a YAML file, its paths in full.

    Raises:
        FphiError: it cannot be read, or holds something else than names with plain values, lists of them, and
            groups of these.
    """
    try:
        values = yaml.safe_load(read_text(path))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise FphiError(f"{path} is damaged ({' '.join(str(error).split())}); restore it") from error
    # Plain values only: YAML can name a list in a list in a list, and grow without bound when it is used.
    if not is_group(values) or not all(is_plain(v) or is_plain_group(v) for v in values.values()):
        raise FphiError(
            f"{path} holds something else than options with plain values; restore it, or choose another file"
        )
    if "tensorboard" in values:  # as it was named before there were others
        written = values.pop("tensorboard")
        values.setdefault("logger", "csv,tensorboard" if written else "csv")
    here, root = path.parent.absolute(), values.get("data_root")
    located = _relocated(values, lambda relative: os.path.normpath(here / relative))
    if isinstance(root, str) and not os.path.exists(located["data_root"]) and os.path.exists(root):
        located["data_root"] = os.path.abspath(root)  # as runs of before have it: from the working directory
    return located


def has_tasks(run: Path, named: str) -> bool:
    """Whether the tasks that a run was trained on are those of this name."""
    return tasks_in_full(str(read_values(run / CONFIG).get("tasks"))) == tasks_in_full(named)


def tasks_in_full(named: str) -> str:
    """The name of tasks, or the path of their folder or file in full."""
    if named in _NAMES["tasks"]:
        return named
    path = os.path.abspath
    return in_file(named, path) if is_in_file(named) else path(named) if Path(named).exists() else named


def written_fingerprint(run: Path) -> str:
    """A run's fingerprint, of its ``config.yaml`` as written: options that a later fphi adds do not count."""
    try:
        values = yaml.safe_load(read_text(run / CONFIG))
    except yaml.YAMLError as error:
        raise FphiError(f"{run / CONFIG} is damaged; restore it") from error
    return _digest(values)


def _allowed(run: Path, key: str, written: str, allowed: Mapping[str, str], command: str) -> str:
    """What the command names in place of what the configuration does: a run folder brings no code along."""
    if key not in allowed:
        shown = in_file(written, lambda path: _relative(path, Path.cwd()))
        raise FphiError(
            f"{run} has its {key} from a file, which runs only when you name it: "
            f"{command or f'fphi evaluate {run}'} {flag(key)} {shown}"
        )
    return allowed[key]


def _digest(values: Mapping[str, Any]) -> str:
    decisive = {k: v for k, v in values.items() if k not in _FREE}
    return sha256(yaml.safe_dump(decisive, sort_keys=True).encode()).hexdigest()[:16]


def _relocated(values: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """With every path among the values changed."""

    def changed(key: str, value: Any) -> Any:
        if key not in _PATHS | _ALWAYS_PATHS or not isinstance(value, str) or not value:
            return value
        if is_in_file(value):
            return in_file(value, change)
        is_path = key in _ALWAYS_PATHS or (key in _NAMES and value not in _NAMES[key])
        return change(value) if is_path else value

    return {key: changed(key, value) for key, value in values.items()}


def _relative(path: str, start: Path) -> str:
    try:
        return Path(os.path.relpath(path, start)).as_posix()
    except ValueError:  # on another drive
        return path


def _plain(value: Any) -> Any:
    """As YAML has it: lists in place of tuples."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= {f"{key}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {key: value}
    return flat
