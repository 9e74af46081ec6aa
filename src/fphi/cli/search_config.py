"""What a search is made of, and its ``config.yaml``."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import yaml

from fphi.cli.options import Parser, fields_of, look_ahead
from fphi.cli.runs import CONFIG
from fphi.cli.search_few_shot import FewShotOptions, require_few_shot
from fphi.cli.search_options import BudgetOptions, ControlOptions, ExecutorOptions, TableOptions, get_space
from fphi.cli.search_problem import Problem, SupervisedOptions, SupervisedProblem
from fphi.errors import FphiError
from fphi.learnable.architecture import SPACES, SearchSpace
from fphi.methods import SEARCHES, get_search
from fphi.methods.searching import SearchMethod, SupernetMethod
from fphi.report.files import read_text
from fphi.run.built import options_of

__all__ = ["Request", "SearchConfig", "parse", "resume_command", "usage"]

# What may differ between the command that began a search and the one that goes on with it.
_FREE = ("executor", "workers", "ray_address", "data_root")


@dataclass(frozen=True)
class SearchConfig:
    """Everything that decides a search's course."""

    name: str
    method: SearchMethod | SupernetMethod
    space: SearchSpace
    problem: SupervisedOptions | FewShotOptions
    budget: BudgetOptions
    executor: ExecutorOptions
    control: ControlOptions

    def to_dict(self) -> dict[str, Any]:
        """Flat, in the order of the command line; ``method`` and ``space`` hold the names."""
        return {
            "method": self.name,
            "space": self.space.name,
            **options_of(self.space),
            **asdict(self.method),
            **self.problem.to_dict(),
            **asdict(self.budget),
            **asdict(self.control),
            **asdict(self.executor),
        }

    def require_fitting(self, problem: Problem) -> None:
        """Raise an `FphiError` if the method cannot begin a search in the space."""
        try:
            if isinstance(self.method, SearchMethod):
                self.method.optimizer(self.space, self.budget.seed)
            else:
                assert isinstance(problem, SupervisedProblem)
                self.method.begin(self.space, problem.data, self.budget.seed)
        except ValueError as error:
            raise FphiError(
                f"{self.name} cannot be set up so ({error}); see fphi search {self.name} --help"
            ) from error

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "SearchConfig":
        name = str(values.get("method"))
        problem = SupervisedOptions if values.get("few_shot") is None else FewShotOptions
        return cls(
            name,
            fields_of(get_search(name), values),
            fields_of(get_space(str(values.get("space"))), values),
            problem.from_dict(values),
            fields_of(BudgetOptions, values),
            fields_of(ExecutorOptions, values),
            fields_of(ControlOptions, values),
        )

    def located(self) -> Self:
        """With the data's path in full, so that it is found from any folder."""
        return replace(self, problem=self.problem.located())

    def to_yaml(self) -> str:
        """The text of ``config.yaml``."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False)

    @classmethod
    def read(cls, run: Path) -> "SearchConfig":
        """Read a search's ``config.yaml``.

        Raises:
            FphiError: it is missing, damaged, or holds what no option can be.
        """
        path = run / CONFIG
        if not path.is_file():
            raise FphiError(f"there is no search in {run} (no {CONFIG}); check the folder, or omit --resume")
        values = _read_values(path)
        try:
            names = str(values.get("method")), str(values.get("space"))
            return cls.from_dict(_parser(*names, values.get("few_shot")).check(values))
        except FphiError as error:
            raise FphiError(f"{path} is damaged ({error}); restore it") from error


@dataclass(frozen=True)
class Request:
    """What a command asks for."""

    config: SearchConfig
    tables: TableOptions
    out: Path
    resume: bool
    json: bool


def parse(name: str, arguments: list[str]) -> Request:
    """The options of ``fphi search NAME``, a configuration file's included."""
    usual = Path("runs") / name
    early = look_ahead(arguments, usual, space=None, few_shot=None)
    begun = _begun(name, early.out) if early.resume else None
    if begun is not None:
        # A resumed search goes on as it was configured; what the command line says besides is compared.
        arguments = ["--config", str(early.out / CONFIG), *arguments]
    own = _kind_of(begun.to_dict()) if begun is not None else _kind_in(name, early.config)
    space = get_space(early.space or own["space"] or get_search(name).usual_space)
    few_shot = early.few_shot or own["few_shot"]
    kind = {"space": space.name, "few_shot": few_shot}
    for key, value in kind.items():
        if begun is not None and value != own[key]:
            flag = key.replace("_", "-")
            raise FphiError(
                f"{early.out} began with {flag} {own[key]}, not {value}; resume it without --{flag}"
            )
    parser = _parser(name, space.name, few_shot)
    parser.add_argument("--config", action="config", help="read options from this file, a run's config.yaml")
    parser.add_argument("--out", type=Path, default=usual, help="the result's directory; made if missing")
    parser.add_argument("--resume", action="store_true", help="go on with the search in --out")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_dataclass(TableOptions)
    o = parser.read(arguments)
    for key, value in (("method", name), *kind.items()):
        if o[key] != value:
            flag = key.replace("_", "-")
            raise FphiError(f"--{flag} is {o[key]!r} and {value!r}: give it once, or leave it out")
    config = SearchConfig.from_dict(o.as_dict()).located()
    tables = fields_of(TableOptions, o)
    if begun is not None:
        _require_same(begun, config, early.out)
    _require_fitting_table(tables, few_shot, of_directory=o.resume or o.out != usual)
    if tables.table is not None and config.executor != ExecutorOptions():
        raise FphiError("a search on a table evaluates nothing; leave --executor and --workers out")
    return Request(config, tables, o.out, o.resume, o.json)


def _require_fitting_table(tables: TableOptions, few_shot: str | None, *, of_directory: bool) -> None:
    """Raise if a table is asked for together with what it cannot have, or its options without it."""
    if tables.table is not None and few_shot is not None:
        raise FphiError(
            f"--table {tables.table} and --few-shot {few_shot}: tables hold no few-shot trainings; leave "
            "--table out to meta-train candidates, or --few-shot to look them up"
        )
    if tables.table is not None and of_directory:
        raise FphiError("a search on a table leaves no directory; leave --out and --resume out")
    if tables.table is None and tables.seeds != 1:
        raise FphiError(f"--seeds {tables.seeds} needs a --table; searches that train take one --seed each")


def _begun(name: str, out: Path) -> SearchConfig:
    """The configuration of the search to go on with."""
    begun = SearchConfig.read(out)
    if begun.name != name:
        raise FphiError(f"{out} is a search by {begun.name}, not {name}: {resume_command(begun.name, out)}")
    return begun


def _parser(name: str, space: str, few_shot: str | None) -> Parser:
    method = get_search(name)
    if few_shot is not None:
        require_few_shot(few_shot, name, get_space(space))
    problem = SupervisedOptions if few_shot is None else FewShotOptions
    parser = Parser(f"search {name}", f"Search architectures by {name}. {method.paper}.")
    parser.add_argument("--method", type=str, default=name, help="the method's name, as in config.yaml")
    parser.add_argument("--space", type=str, default=space, help=f"one of {', '.join(SPACES)}")
    parser.add_argument(
        "--few-shot",
        type=str,
        default=few_shot,
        help="prototypical or maml: candidates are networks of such a few-shot learner, meta-trained and "
        "judged on tasks; with it, --help lists the options of tasks in place of those of examples; "
        "candidates are trained on examples if not given",
    )
    own = (get_space(space), method)
    for cls in (*own, *problem.parts, BudgetOptions, ControlOptions, ExecutorOptions):
        parser.add_dataclass(cls)
    return parser


def _kind_of(values: dict[str, Any]) -> dict[str, str | None]:
    """The options that decide which others there are."""
    return {key: None if values.get(key) is None else str(values[key]) for key in ("space", "few_shot")}


def _kind_in(name: str, configs: Sequence[Path]) -> dict[str, str | None]:
    """The same as the last files name them; each must be of the method ``name``."""
    given: dict[str, Any] = {}
    for path in configs:
        values = _read_values(path)
        method = values.get("method", name)
        if method != name:
            raise FphiError(f"the configuration is of method {method!r}, not {name!r}: fphi search {method}")
        given |= values
    return _kind_of(given)


def _read_values(path: Path) -> dict[str, Any]:
    """The options in a YAML file.

    Raises:
        FphiError: it cannot be read, or is something else than names with plain values or lists of them.
    """
    try:
        values = yaml.safe_load(read_text(path))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise FphiError(f"{path} is damaged ({' '.join(str(error).split())}); restore it") from error
    plain = (str, int, float, bool, type(None))
    if not isinstance(values, dict) or not all(
        isinstance(key, str)
        and all(isinstance(v, plain) for v in (value if isinstance(value, list) else [value]))
        for key, value in values.items()
    ):
        raise FphiError(
            f"{path} holds something else than options with plain values; restore it, or choose another file"
        )
    return values


def _require_same(begun: SearchConfig, config: SearchConfig, out: Path) -> None:
    """Raise unless a search goes on as it was configured."""
    before, now = begun.to_dict(), config.to_dict()
    for name in before.keys() | now.keys():
        if name not in _FREE and before.get(name) != now.get(name):
            raise FphiError(
                f"{out} began with {name} {before.get(name)}, not {now.get(name)}; "
                f"resume it without --{name.replace('_', '-')}, or search in another folder"
            )


def resume_command(name: str, out: Path) -> str:
    """What to type to go on with a search."""
    return shlex.join(["fphi", "search", name, "--out", str(out), "--resume"])


def usage() -> str:
    """The methods, and where help is."""
    names = "\n".join(f"  {name:<24}{cls.paper}" for name, cls in sorted(SEARCHES.items()))
    end = (
        "fphi search METHOD --help lists a method's options with those of its usual space,\n"
        "fphi search METHOD --space SPACE --help with those of another, and\n"
        "fphi search METHOD --few-shot LEARNER --help with those of few-shot tasks."
    )
    return f"usage: fphi search METHOD [options]\n\nmethods:\n{names}\n\nspaces: {', '.join(SPACES)}\n\n{end}"
