"""Augmentation policies and schedules as files: one JSON object each, in which a hand can write too."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from fphi.errors import FphiError, printable
from fphi.learnable.augmentation import (
    AugmentationPolicy,
    PBAPolicy,
    Policy,
    RandAugment,
    Schedule,
    Step,
    TrivialAugment,
)
from fphi.run.disk.files import Json, parse_json, write_text
from fphi.run.disk.schema import group, number, require, shortened, text, whole

__all__ = [
    "AUGMENTATION",
    "Augmenting",
    "augmentation_text",
    "read_augmentation",
    "read_lines",
    "write_augmentation",
]

Augmenting: TypeAlias = AugmentationPolicy | Schedule

AUGMENTATION = "augmentation.json"
"""What a search leaves in its folder."""

_KIND = "augmentation"
_MOST_BYTES, _MOST_ENTRIES, _MOST_STEPS, _MOST_EPOCHS = 2**24, 10_000, 16, 10**9


def augmentation_text(augmenting: Augmenting) -> str:
    """A policy or a schedule as its file has it.

    Raises:
        FphiError: it is of a class that no file can hold.
    """
    return json.dumps(_content(augmenting), indent=1) + "\n"


def write_augmentation(path: Path, augmenting: Augmenting) -> None:
    """Write a policy or a schedule.

    Raises:
        FphiError: it cannot be written, or is of a class that no file can hold.
    """
    write_text(path, augmentation_text(augmenting))


def read_augmentation(path: Path) -> Augmenting:
    """What `write_augmentation` wrote, or a hand in the same form; of a folder, what a search left there.

    Raises:
        FphiError: there is no such file, or it holds none.
    """
    if path.is_dir():
        path = path / AUGMENTATION
    raw = read_lines(path)
    try:
        content = group(parse_json(raw, once=True), "the file")
        return _schedule(content) if content.get(_KIND) == "schedule" else _policy(content)
    except (ValueError, FphiError) as error:
        reason = printable(" ".join(str(error).split()))[:300]
        raise FphiError(f"{path} holds no augmentation ({reason}); correct it, or save it again") from error


def read_lines(path: Path) -> str:
    """The text of a file of this kind, which is no long one.

    Raises:
        FphiError: it cannot be read, or is far too long.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_MOST_BYTES + 1)
        if len(raw) > _MOST_BYTES:
            raise FphiError(f"{path} has more than {_MOST_BYTES} bytes, as no policy has; check the path")
        return raw.decode("utf-8")
    except (OSError, ValueError) as error:
        reason = printable(" ".join(str(error).split()))[:200]
        raise FphiError(f"cannot read {path} ({reason}); check the path") from error


def _content(augmenting: Augmenting) -> dict[str, Json]:
    if isinstance(augmenting, Schedule):
        segments: list[Json] = [
            {"epochs": e, "policy": _content(policy)} for e, policy in augmenting.segments
        ]
        return {_KIND: "schedule", "segments": segments}
    fill: list[Json] = list(augmenting.fill)
    if isinstance(augmenting, Policy):
        rows: list[Json] = [
            [[step.operation, step.probability, step.magnitude] for step in steps]
            for steps in augmenting.sub_policies
        ]
        return {_KIND: "policy", "scale": augmenting.scale, "fill": fill, "sub_policies": rows}
    if isinstance(augmenting, PBAPolicy):
        return {_KIND: "pba", "fill": fill, "vector": list(augmenting.vector)}
    if isinstance(augmenting, RandAugment):
        how: dict[str, Json] = {"count": augmenting.count, "magnitude": augmenting.magnitude}
        return {_KIND: "randaugment", "fill": fill, **how}
    if isinstance(augmenting, TrivialAugment):
        return {_KIND: "trivialaugment", "fill": fill, "scale": augmenting.scale}
    raise FphiError(f"a {type(augmenting).__name__} cannot be saved; save one of fphi's own policies")


def _schedule(content: Mapping[str, Any]) -> Schedule:
    _require_keys(content, "segments")
    segments = []
    for segment in _entries(content["segments"], "segments"):
        own = group(segment, "a segment")
        require(
            own.keys() == {"epochs", "policy"},
            f"a segment has {shortened(sorted(own))}, no epochs and policy",
        )
        epochs = whole(own["epochs"], "epochs", 1, _MOST_EPOCHS)
        segments.append((epochs, _policy(group(own["policy"], "policy"))))
    return Schedule(tuple(segments))


def _policy(content: Mapping[str, Any]) -> AugmentationPolicy:
    kind = content.get(_KIND)
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ValueError(f"{_KIND} is {shortened(kind)}, none of schedule, {', '.join(_KINDS)}")
    keys, make = _KINDS[kind]
    _require_keys(content, *keys)
    return make(content)


def _sub_policies(content: Mapping[str, Any]) -> Policy:
    rows = []
    for steps in _entries(content["sub_policies"], "sub_policies"):
        row = [_step(step) for step in _entries(steps, "a sub-policy", _MOST_STEPS, 0)]
        rows.append(tuple(row))
    return Policy(tuple(rows), content["scale"], _fill(content))


def _step(step: Any) -> Step:
    operation, probability, magnitude = _entries(step, "a step", 3, 3)
    return Step(
        text(operation, "operation"), number(probability, "probability"), number(magnitude, "magnitude")
    )


def _fill(content: Mapping[str, Any]) -> tuple[float, ...]:
    return tuple(number(level, "fill", 0, 255) for level in _entries(content["fill"], "fill", 3))


def _vector(content: Mapping[str, Any]) -> PBAPolicy:
    return PBAPolicy(
        tuple(whole(value, "vector") for value in _entries(content["vector"], "vector")), _fill(content)
    )


_KINDS: Mapping[str, tuple[tuple[str, ...], Callable[[Mapping[str, Any]], AugmentationPolicy]]] = {
    "policy": (("scale", "fill", "sub_policies"), _sub_policies),
    "pba": (("fill", "vector"), _vector),
    "randaugment": (
        ("fill", "count", "magnitude"),
        lambda c: RandAugment(whole(c["count"], "count"), number(c["magnitude"], "magnitude"), _fill(c)),
    ),
    "trivialaugment": (("fill", "scale"), lambda c: TrivialAugment(c["scale"], _fill(c))),
}


def _require_keys(content: Mapping[str, Any], *keys: str) -> None:
    expected = {_KIND, *keys}
    require(
        content.keys() == expected, f"it has {shortened(sorted(content))} and must have {sorted(expected)}"
    )


def _entries(value: Any, name: str, most: int = _MOST_ENTRIES, least: int = 1) -> list[Any]:
    require(isinstance(value, list), f"{name} is {shortened(value)}, no list")
    require(least <= len(value) <= most, f"{name} has {len(value)} entries, not {least} to {most}")
    found: list[Any] = value
    return found
