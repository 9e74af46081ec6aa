"""From names and configuration files to the parser of a run's options, and on to its configuration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fphi.errors import FphiError
from fphi.experiment.config import CONFIG, FROM_FILES, Config, read_values
from fphi.experiment.connections import require_asked
from fphi.experiment.extending import COMMAND, extended_at, require_ended
from fphi.experiment.parser import Parser, flag
from fphi.experiment.plugins import is_in_file
from fphi.experiment.schema import Schema
from fphi.experiment.setup import require_kept
from fphi.methods.base import FewShotMethod
from fphi.run.disk.checkpoint import LAST
from fphi.run.meta.training import Training
from fphi.run.show.say import say
from fphi.tasks.options import TaskOptions

__all__ = ["Named", "Prepared", "prepare"]

_DECIDING = ("method", "space", "few_shot")


@dataclass(frozen=True)
class Named:
    """What a user names of a run before its options are known.

    Args:
        command: the word of the command line, for messages.
        names: method, space and few-shot learner, the network or tasks of a file of Python, and what a file
            may not start by itself (see `require_asked`), where the user names it.
        files: configuration files, the later ones prevail.
        out: the run's folder.
        resume: whether a run there is to go on.
        usual: values where nobody gives one, in place of those that are usual.
    """

    command: str
    names: Mapping[str, str]
    files: Sequence[Path]
    out: Path
    resume: bool
    usual: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Prepared:
    """The parser of a run's options, whose defaults are what is known so far."""

    named: Named
    schema: Schema
    parser: Parser
    begun: Config | None

    def config(self, values: Mapping[str, Any]) -> Config:
        """The configuration, from what the parser read.

        Raises:
            FphiError: something is named twice, an option is out of its range, or a run that is to go on was
                begun with something else.
        """
        for key, value in self.schema.names.items():
            if values.get(key) != value:
                raise FphiError(f"{flag(key)} is {values.get(key)!r} and {value!r}: give it once")
        config = Config.of(self.schema, values)
        if self.begun is not None:
            self._go_on(config, self.begun)
        elif config.has(Training) and self.named.command == "train":
            self._say_if_extended(config.part(Training).steps)
        return config

    def _say_if_extended(self, steps: int) -> None:
        """A run that was given more steps later is repeated by its commands, not by its configuration."""
        for path in self.named.files:
            if path.name == CONFIG and (at := extended_at(path.parent)) and steps > at[-1]:
                say(
                    f"{path.parent} was given more steps after {', '.join(map(str, at))}, and its learning "
                    f"rate fell along each part: what repeats it are the commands in its {COMMAND}"
                )

    def _go_on(self, config: Config, begun: Config) -> None:
        out = self.named.out
        may_grow = issubclass(self.schema.method, FewShotMethod) and (out / LAST).is_file()
        config.require_same(begun, out, may_grow=may_grow)
        if may_grow and "tasks" not in self.named.names:
            require_kept(config.part(TaskOptions).tasks)
        if may_grow and config.part(Training).steps != begun.part(Training).steps:
            require_ended(out, begun.part(Training).steps)


def prepare(named: Named) -> Prepared:
    """The parser of a run's options.

    Raises:
        FphiError: there is nothing of such a name, a file is damaged, or it names another method or a file of
            Python that the user does not.
    """
    files = [*([named.out / CONFIG] if named.resume else []), *named.files]
    if named.resume and not files[0].is_file():
        raise FphiError(f"there is no run to resume in {named.out} (no {CONFIG}); check the folder")
    values: dict[str, Any] = {}
    for path in files:
        values |= _known(named, path)
        require_asked(path, values, named.names)
    # Before anything is made of its values: what is wrong with them is said of this file.
    begun = Config.read(named.out, allowed=named.names) if named.resume else None
    names = {key: named.names.get(key) or _text(values.get(key)) for key in _DECIDING}
    if names["method"] is None:
        raise FphiError(f"which method? fphi {named.command} METHOD, or --config with a file that names one")
    schema = Schema.named(str(names["method"]), names["space"], names["few_shot"])
    if begun is not None:
        _require_same_kind(named, begun.schema, schema)
    parser = schema.parser(named.command, named.names.get("tasks") or _text(values.get("tasks")))
    parser.set_defaults(dict(named.usual))
    parser.begin_with(schema.known(values | schema.names))
    return Prepared(named, schema, parser, begun)


def _known(named: Named, path: Path) -> dict[str, Any]:
    """The values of a file, once they agree with what the user names."""
    values = read_values(path)
    method, given = values.get("method"), named.names.get("method")
    same = method == given or (is_in_file(method) and is_in_file(given) and _same_place(method, given))
    if given is not None and method is not None and not same:
        whose = f"{named.out} is a run of" if path.parent == named.out else "the configuration is of method"
        raise FphiError(f"{whose} {method}, not {given}: fphi {named.command} {method}")
    for key in FROM_FILES:
        if is_in_file(values.get(key)):
            if key not in named.names:
                raise FphiError(
                    f"{path} has its {key} from a file, which runs only when you name it: add "
                    f"{'' if key == 'method' else flag(key) + ' '}{values[key]}"
                )
            values[key] = named.names[key]
    return values


def _same_place(one: object, other: object) -> bool:
    paths = [str(text).rpartition(":") for text in (one, other)]
    return paths[0][2] == paths[1][2] and Path(paths[0][0]).resolve() == Path(paths[1][0]).resolve()


def _require_same_kind(named: Named, begun: Schema, schema: Schema) -> None:
    """Raise unless what decides the options is as in the run that is to go on."""
    for key, value in begun.names.items():
        if schema.names.get(key) != value:
            raise FphiError(
                f"{named.out} began with {key.replace('_', '-')} {value}, not {schema.names.get(key)}; "
                f"resume it without {flag(key)}"
            )


def _text(value: object) -> str | None:
    return None if value is None else str(value)
