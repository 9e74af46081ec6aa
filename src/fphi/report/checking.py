"""Whether the record of a test is one: it may come from a file that anybody wrote."""

import math
from collections.abc import Collection, Mapping
from types import UnionType

__all__ = ["problem_of"]

_WHOLE = ("shots", "tasks", "queries", "turns", "test_steps", "threads")
_TEXTS = ("method", "protocol", "data", "command", "split", "images", "parameters", "classes")


def problem_of(record: Mapping[str, object], required: Collection[str]) -> str:
    """What is wrong with a record, as far as the reports read it; "" if nothing is.

    Args:
        record: what a file holds, or is to hold.
        required: the keys that it must have.
    """
    missing = sorted(set(required) - record.keys())
    if missing:
        return f"lacks {', '.join(missing)}"
    wrong = [key for key in _WHOLE if not _is_count(record.get(key, 0))]
    wrong += [] if type(record["seed"]) is int and abs(record["seed"]) < 2**64 else ["seed"]
    wrong += [] if record["ways"] is None or _is_positive(record["ways"]) else ["ways"]
    wrong += [key for key in _TEXTS if not isinstance(record.get(key, ""), str)]
    intervals = {"loss": record["loss"]} if "loss" in record else {}
    for name in ("accuracy", "measures"):
        group = record.get(name, {})
        intervals |= group if isinstance(group, dict) else {name: group}
    wrong += [key for key, interval in intervals.items() if not _is_interval(interval)]
    accuracies = record.get("accuracy", {})
    if isinstance(accuracies, dict):
        wrong += [
            key for key, value in accuracies.items() if key not in wrong and not _is_fraction(value["mean"])
        ]
    groups = {"versions": str, "budget": object, "start": str | None}
    wrong += [key for key, kind in groups.items() if not _is_group(record.get(key, {}), kind)]
    wrong += [] if _are_steps(record.get("by_step", [])) else ["by_step"]
    wrong += [] if _are_lines(record.get("differs", [])) else ["differs"]
    return f"has no valid {', '.join(wrong)}" if wrong else ""


def _is_interval(record: object) -> bool:
    return isinstance(record, dict) and all(_is_number(record.get(key, "")) for key in ("mean", "ci95"))


def _is_positive(value: object) -> bool:
    return _is_count(value) and value != 0


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_fraction(value: object) -> bool:
    return value is None or (_is_number(value) and 0 <= float(str(value)) <= 1)


def _is_group(values: object, kind: type | UnionType) -> bool:
    return isinstance(values, dict) and all(isinstance(value, kind) for value in values.values())


def _are_steps(records: object) -> bool:
    """Whether these are records of inner steps, all with an accuracy or none."""
    return (
        isinstance(records, list)
        and all(
            isinstance(r, dict)
            and _is_count(r.get("step"))
            and all(map(_is_number, r.values()))
            and r.get("accuracy", 0.0) is not None
            and _is_fraction(r.get("accuracy", 0.0))
            for r in records
        )
        and len({"accuracy" in r for r in records}) < 2
    )


def _are_lines(texts: object) -> bool:
    return isinstance(texts, list) and all(isinstance(text, str) for text in texts)


def _is_number(value: object) -> bool:
    """Whether a value of JSON is a number, or what stands for one that is not finite."""
    return value is None or (
        isinstance(value, int | float) and type(value) is not bool and math.isfinite(value)
    )
