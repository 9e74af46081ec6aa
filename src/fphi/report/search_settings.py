"""What two searches must have in common to count as seeds of one, and the words that tell others apart."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["Settings", "settings_of", "told_apart"]

_OWN = ("space", "options", "examples", "candidate_epochs", "retrain_epochs", "epochs", "network")
_FEW_SHOT = (
    "protocol",
    "ways",
    "shots",
    "tasks",
    "statistics",
    "meta_batch",
    "candidate_steps",
    "retrain_steps",
)

# A name with its value as JSON, in the order of the result.
Settings = tuple[tuple[str, str], ...]


def settings_of(result: Mapping[str, Any]) -> Settings:
    """All that decides the course of a search but data, method and seed, as far as its result tells.

    Args:
        result: the content of ``result.json``, with a control.
    """
    found: dict[str, Any] = {name: result[name] for name in (*_OWN, *_FEW_SHOT) if name in result}
    found["random search"] = result["control"].get("budget", result["control"].get("evaluations"))
    if not str(found["random search"]).endswith(" s of evaluations"):
        found["evaluations"] = result.get("evaluations")  # in a given time every seed has its own number
    found["settings"] = result.get("settings", {})  # all options: searches of before do not tell them
    return tuple((name, json.dumps(value, sort_keys=True)) for name, value in _flat(found).items())


def told_apart(settings: Sequence[Settings]) -> list[str]:
    """Of each what the others have not, in words; "" where there is only one."""
    known = [dict(one) for one in settings]
    names = dict.fromkeys(name for one in known for name in one)
    differing = [name for name in names if len({one.get(name) for one in known}) > 1]
    return [", ".join(f"{name} {_shown(one.get(name))}" for name in differing) for one in known]


def _shown(value: str | None) -> str:
    return "none" if value in (None, "null") else str(value).strip('"')


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Groups as their entries; an option that the facts tell too is told once."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        own = _flat(value) if isinstance(value, dict) else {name: value}
        flat |= {key: entry for key, entry in own.items() if key not in flat}
    return flat
