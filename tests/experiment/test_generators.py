"""The caller's random numbers go on as if no run had been trained, loaded or tested in between."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fphi
from fphi.experiment.draw import Drawing, draw_run
from fphi.within.randomness import undisturbed


def drawn() -> list[float]:
    return [float(torch.rand(())), float(np.random.rand()), random.random()]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("generators") / "run"
    train(out)
    return out


def train(out: Path) -> Any:
    return fphi.train(
        "prototypical", out=out, steps=1, meta_batch=1, validation_tasks=2, threads=1, network="mlp"
    )


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    "what",
    [
        lambda run, out: train(out),
        lambda run, out: fphi.load(run),
        lambda run, out: fphi.evaluate(run, test_tasks=2),
        lambda run, out: draw_run(run, Drawing(classes=2, each=2)),
    ],
    ids=["train", "load", "evaluate", "draw"],
)
def test_a_run_leaves_the_generators_alone(
    what: Callable[[Path, Path], Any], seed: int, run: Path, tmp_path: Path
) -> None:
    with undisturbed():
        both: list[list[float]] = []
        for between in (lambda: None, lambda: what(run, tmp_path / "other")):
            torch.manual_seed(seed)
            np.random.seed(seed)
            random.seed(seed)
            between()
            both.append(drawn())
    assert both[0] == both[1]


def test_what_fails_leaves_them_alone_too() -> None:
    @undisturbed()
    def fails() -> None:
        drawn()
        raise ValueError("wrong")

    def fail() -> None:
        with pytest.raises(ValueError, match="wrong"):
            fails()

    with undisturbed():
        seeds: list[list[float]] = []
        calls: list[Callable[[], None]] = [lambda: None, fail]
        for between in calls:
            torch.manual_seed(3)
            np.random.seed(3)
            random.seed(3)
            between()
            seeds.append(drawn())
    assert seeds[0] == seeds[1]
