"""The options that a tuning varies where nobody says: those of the method, from their kinds and ranges."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from types import NoneType, UnionType
from typing import Any, Literal, Self, Union, get_args, get_origin, get_type_hints

from fphi.errors import FphiError
from fphi.experiment.parser import flag
from fphi.experiment.tuning.dimensions import Dimension, Value
from fphi.methods.base import FewShotMethod
from fphi.methods.families.networks import Rate
from fphi.ranges import Range, range_of
from fphi.run.meta.training import Training
from fphi.tasks import TaskDistribution
from fphi.tasks.options import TaskOptions

__all__ = ["Facts", "current", "space_of"]

# Options beside the method's own that change how is learned, not what is asked nor how that is measured.
_OTHERS: tuple[tuple[type, str], ...] = (
    *((Training, name) for name in ("steps", "meta_batch", "freeze")),
    *((TaskOptions, name) for name in ("train_rotation", "train_distortion", "train_within_group")),
)
_NEUTRAL = ("memory",)  # options that change no result
_OFF = (None, 0, False, "none", "auto")
_RATE = (1e-3, 1.0)  # where nothing is known of a rate
_USUAL = "usual"


@dataclass(frozen=True)
class Facts:
    """What the tasks are, as far as usual values depend on it.

    Args:
        regression: whether answers are numbers.
        images: whether examples are.
    """

    regression: bool
    images: bool

    @classmethod
    def of(cls, tasks: TaskDistribution) -> Self:
        """Read off the first development task.

        Raises:
            FphiError: there are none.
        """
        if not {"train", "validation"} <= set(tasks.splits):
            raise FphiError(
                f"these tasks have the splits {', '.join(tasks.splits)}, and tuning needs train and "
                "validation: choose another --protocol, or leave --train-on-validation out"
            )
        support, _ = tasks.task("validation", 0)
        return cls(support.y.is_floating_point(), support.x.ndim == 4)


def space_of(
    method: FewShotMethod, facts: Facts, vary: Sequence[str], fixed: Collection[str]
) -> tuple[Dimension, ...]:
    """The options that are varied, each once.

    Args:
        method: with the options that trainings have in common.
        facts: of the tasks.
        vary: ``NAME=VALUES``, ``NAME`` for its usual values, ``usual`` for all options that are varied where
            this is empty.
        fixed: options that are not among the usual ones, since they were given.

    Raises:
        FphiError: there is no such option, it cannot be varied, or nothing is left to vary.
    """
    found: dict[str, Dimension] = {}
    for text in vary or (_USUAL,):
        if text == _USUAL:
            found = {d.name: d for d in _usual_space(method, facts, fixed)} | found
        else:
            name, equals, values = text.partition("=")
            name = name.strip().removeprefix("--").replace("-", "_")
            kinds = _kinds(_declared(method, name), name)
            found[name] = (
                Dimension.parse(name, values.strip(), kinds) if equals else _asked(method, name, facts)
            )
    if not found:
        raise FphiError(f"{method.title} has no option left to vary; name some: --vary NAME=0.01:1:log")
    return tuple(found.values())


def current(method: FewShotMethod, name: str, facts: Facts) -> Value:
    """The value of a method's option; what it stands for where that depends on the tasks."""
    value: Value = getattr(method, name)
    usual = getattr(type(method), f"usual_{name}", None)
    if value is None and isinstance(usual, Rate):
        return usual.regression if facts.regression else usual.classification
    return value


def _usual_space(method: FewShotMethod, facts: Facts, fixed: Collection[str]) -> list[Dimension]:
    left_out = {*fixed, *_NEUTRAL, *method.asked}
    names = [f.name for f in fields(method) if f.name not in left_out]
    on = [name for name in names if _is_on(method, name, facts)]
    found = [_dimension(method, name, facts) for name in on]
    return [dimension for dimension in found if dimension is not None]


def _is_on(method: FewShotMethod, name: str, facts: Facts) -> bool:
    """Whether the method uses what the option is about: what is off by default stays off."""
    if name == "norm" and not facts.images:
        return False  # the network for vectors has none
    return current(method, name, facts) not in _OFF or _is_rate(method, name)


def _asked(method: FewShotMethod, name: str, facts: Facts) -> Dimension:
    dimension = _dimension(method, name, facts) if name in {f.name for f in fields(method)} else None
    if dimension is None:
        raise FphiError(
            f"--vary {name} has no usual values; write them: --vary {name}=1,3,5 or {name}=0.01:1:log"
        )
    return dimension


def _declared(method: FewShotMethod, name: str) -> type:
    """The dataclass that has the option."""
    own = [f.name for f in fields(method) if f.name not in method.asked]
    if name in method.asked:
        raise FphiError(
            f"--vary {name}: it is part of what {method.title} is asked, of which the easiest would be the "
            f"best; give one value by {flag(name)}"
        )
    if name in own:
        return type(method)
    for cls, other in _OTHERS:
        if other == name:
            return cls
    known = ", ".join([*own, *(other for _, other in _OTHERS)])
    raise FphiError(
        f"--vary {name}: it can be one of {known}; what they are says fphi train {method.title} --help"
    )


def _dimension(method: FewShotMethod, name: str, facts: Facts) -> Dimension | None:
    """The usual values of one option of the method; None: nothing is known of them."""
    kinds = [kind for kind in _kinds(type(method), name) if kind is not NoneType]
    value, within = current(method, name, facts), range_of(type(method), name)
    if all(isinstance(kind, str) for kind in kinds):
        return Dimension(name, tuple(kinds))
    if bool in kinds:
        return Dimension(name, (True, False))
    if isinstance(value, str):
        return None
    if float in kinds:
        return _numbers(name, value, within, _is_rate(method, name))
    if int in kinds and value:
        low, high = max(1, within.least, value // 3), min(within.most, 3 * value)
        return Dimension(name, (), low, high, log=True, whole=True) if low < high else None
    return None


def _numbers(name: str, value: float | None, within: Range, is_rate: bool) -> Dimension | None:
    """A part of a whole takes all values of its range, another number a tenth to ten times as much."""
    width = within.most - within.least
    least, most = (within.least + 0.05 * width * within.open, within.most - 0.05 * width * within.below)
    if width <= 2 and not is_rate:
        return Dimension(name, (), least, most)
    if value is not None and value > 0:
        low, high = (float(f"{value * factor:.3g}") for factor in (0.1, 10))
        return Dimension(name, (), max(low, within.least), min(high, most), log=True)
    return Dimension(name, (), *_RATE, log=True) if is_rate else None


def _is_rate(method: FewShotMethod, name: str) -> bool:
    """Whether the option is a learning rate, by its name and its range."""
    within = range_of(type(method), name)
    return within.open and within.least == 0 and name.endswith(("_lr", "_rate"))


def _kinds(cls: type, name: str) -> tuple[Any, ...]:
    """The types that a field takes, those in a union one by one; of a literal its values."""

    def flat(hint: Any) -> tuple[Any, ...]:
        if get_origin(hint) in (Union, UnionType):
            return tuple(kind for part in get_args(hint) for kind in flat(part))
        return get_args(hint) if get_origin(hint) is Literal else (hint,)

    return flat(get_type_hints(cls)[name])
