"""Experiments at their smallest, and what each of their records has."""

import json
from pathlib import Path
from typing import Any

import pytest

from cli_helpers import quietly

SMALL = ("--steps", "1", "--meta-batch", "2", "--test-tasks", "2", "--seeds", "1")
# What makes an experiment smaller than these do.
SMALLER: dict[str, tuple[str, ...]] = {
    "classes": ("--network", "mlp"),
    "domains": ("--network", "mlp", "--ways", "3"),
    "feature-reuse": ("--network", "mlp", "--compared-tasks", "2", "--compared-queries", "2"),
    "inner-steps": ("--network", "mlp", "--most-steps", "2"),
    "optimizer": ("--inner-steps", "2", "--shots", "1"),
    "reptile-gradient": ("--network", "mlp", "--checked-tasks", "1"),
    "stability": ("--network", "mlp", "--inner-steps", "1"),
    "task-augmentation": ("--network", "mlp"),
}
KEYS = ("experiment", "about", "options", "trainings", "measured", "findings", "picture", "versions")


def experimented(out: Path, name: str, *words: object) -> dict[str, Any]:
    """Run an experiment through the command line into ``out``; its JSON."""
    quietly("experiment", name, "--out", out, *SMALL, *SMALLER.get(name, ()), *words)
    record: dict[str, Any] = json.loads((out / f"{name}.json").read_text("utf-8"), parse_constant=pytest.fail)
    return record
