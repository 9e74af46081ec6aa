"""The options that a tuning varies where nobody says: those of the method, from their kinds and ranges."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from fphi.errors import FphiError
from fphi.experiment.parser import flag
from fphi.experiment.tuning.dimensions import Dimension
from fphi.methods.base import FewShotMethod, Setting
from fphi.methods.families.networks import current
from fphi.ranges import Range, range_of
from fphi.run.meta.training import Training
from fphi.tasks.options import TaskOptions

__all__ = ["require_effect", "space_of"]

# Options beside the method's own that change how is learned, not what is asked nor how that is measured.
_OTHERS: tuple[tuple[type, str], ...] = (
    *((Training, name) for name in ("steps", "meta_batch", "freeze")),
    *((TaskOptions, name) for name in ("train_rotation", "train_distortion", "train_within_group")),
)
_NEUTRAL = ("memory",)  # options that change no result
_OFF = (None, 0, False, "none", "auto")
_RATE = (1e-3, 1.0)  # where nothing is known of a rate
_USUAL = "usual"


def space_of(
    method: FewShotMethod, setting: Setting, vary: Sequence[str], fixed: Collection[str]
) -> tuple[Dimension, ...]:
    """The options that are varied, each once.

    Args:
        method: with the options that trainings have in common.
        setting: of the tasks.
        vary: ``NAME=VALUES``, ``NAME`` for its usual values, ``usual`` for all options that are varied where
            this is empty.
        fixed: options that are not among the usual ones, since they were given.

    Raises:
        FphiError: there is no such option, it cannot be varied, or nothing is left to vary.
    """
    found: dict[str, Dimension] = {}
    for text in vary:
        if text != _USUAL:
            one = _named(method, text, setting)
            if one.name in found:
                raise FphiError(f"--vary {one.name} is given twice; give it once, with all its values")
            found[one.name] = one
    if not vary or _USUAL in vary:
        found = _usual_space(method, setting, fixed, found)
    if not found:
        raise FphiError(f"{method.title} has no option left to vary; name some: --vary NAME=0.01:1:log")
    return tuple(found.values())


def require_effect(method: FewShotMethod, space: Iterable[Dimension], setting: Setting) -> None:
    """Raise an `FphiError` if an option changes nothing, whatever the others that are varied are."""
    varied = {one.name: one for one in space}
    for name in sorted(varied.keys() & _idle(_ways(method, varied.values()), setting)):
        raise FphiError(
            f"--vary {name}: it changes nothing as the other options are; leave it out, or change them (what "
            f"they are says fphi train {method.title} --help)"
        )


def _named(method: FewShotMethod, text: str, setting: Setting) -> Dimension:
    """What one --vary says."""
    name, equals, values = text.partition("=")
    name = name.strip().removeprefix("--").replace("-", "_")
    kinds = _kinds(_declared(method, name), name)
    return Dimension.parse(name, values.strip(), kinds) if equals else _with_usual(method, name, setting)


def _usual_space(
    method: FewShotMethod, setting: Setting, fixed: Collection[str], named: Mapping[str, Dimension]
) -> dict[str, Dimension]:
    """All that have an effect and are not decided by another's choice, with those that are named."""
    left_out = {*fixed, *_NEUTRAL, *method.asked}
    names = [f.name for f in fields(method) if f.name not in left_out]
    # What is off by default stays off.
    on = [name for name in names if getattr(method, name) not in _OFF or _is_rate(method, name)]
    found = [_dimension(method, name, setting) for name in on]
    usual = {one.name: one for one in found if one is not None}
    ways = _ways(method, {**usual, **named}.values())
    used = {name: [way for way in ways if name not in way.idle(setting)] for name in usual}
    found = [
        _dimension(own[0], name, setting)
        for name, own in used.items()
        if own and len({current(way, name, setting) for way in own if getattr(way, name) is None}) <= 1
    ]
    return {one.name: one for one in found if one is not None} | dict(named)


def _ways(method: FewShotMethod, varied: Iterable[Dimension]) -> list[FewShotMethod]:
    """The method with each choice of an option that is varied, the others as they are or at their first."""
    own = {field.name for field in fields(method)}
    choosing = [one for one in varied if one.choices and one.name in own]
    first = {one.name: one.choices[0] for one in choosing if not one.holds(getattr(method, one.name))}
    found = []
    for values in ({}, *({one.name: choice} for one in choosing for choice in one.choices)):
        with suppress(FphiError):  # a choice that the method refuses is refused where the training is made
            found.append(replace(method, **{**first, **values}))
    return found or [method]


def _idle(ways: Iterable[FewShotMethod], setting: Setting) -> set[str]:
    """Options that change nothing in any of them."""
    return set.intersection(*(set(way.idle(setting)) for way in ways))


def _with_usual(method: FewShotMethod, name: str, setting: Setting) -> Dimension:
    dimension = _dimension(method, name, setting) if name in {f.name for f in fields(method)} else None
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


def _dimension(method: FewShotMethod, name: str, setting: Setting) -> Dimension | None:
    """The usual values of one option of the method; None: nothing is known of them."""
    kinds = [kind for kind in _kinds(type(method), name) if kind is not NoneType]
    value, within = current(method, name, setting), range_of(type(method), name)
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
