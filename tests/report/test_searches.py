"""The table of searches: pairs with random search over seeds, and what was tried over time."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from fphi.errors import FphiError
from fphi.methods.darts import DARTS
from fphi.report.searches import draw_searches, read_searches, searches_section


def write(
    folder: Path, method: str, seed: int, found: float, control: float | None, tried: str, **own: Any
) -> None:
    folder = folder / f"{method}-{seed}"
    folder.mkdir(parents=True)
    figures = {"seconds": 1.0, "validation_accuracy": 0.9}
    ends = {"parameters": 9, "test_accuracy": control}
    beside = {"method": "random-search", "evaluations": 4, **figures, "retrained": ends}
    result = {"data": "mnist", "method": method, "seed": seed, **figures, "architecture": "a"}
    result |= {"retrain_epochs": 1, "retrain_steps": 1, "retrained": {**ends, "test_accuracy": found}}
    result["control"] = None if control is None else beside
    (folder / "result.json").write_text(json.dumps({**result, **own}))
    (folder / "history.csv").write_text(tried)


CANDIDATES = "loss,population_loss\n0.9,\n0.8,\n0.5,\n0.4,\n0.3,\n0.1,\n"
EPOCHS = "epoch,accuracy\n1,0.1\n2,0.2\n3,0.6\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, "nasnet", 1, 0.95, 0.90, CANDIDATES, evaluations=6)
    write(tmp_path, "nasnet", 0, 0.91, 0.92, CANDIDATES, evaluations=6)
    write(tmp_path, "enas-macro", 0, 0.80, 0.70, EPOCHS, epochs=3)
    return tmp_path


def test_a_line_has_the_pairs_and_the_thirds(folder: Path) -> None:
    lines = searches_section(read_searches(folder)).splitlines()
    assert lines[-2:] == [
        "| mnist | nasnet | 2 | 6 evaluations | 93.0 ± 2.8 | 91.0 ± 1.4 | +2.00 | 15.0 → 80.0 |",
        "| mnist | enas-macro | 1 | 3 epochs (random: 4) | 80.0 | 70.0 | +10.00 | 10.0 → 60.0 |",
    ]


def test_few_shot_searches_stand_beside_conv4_in_a_table_of_their_own(folder: Path) -> None:
    for seed, gain in ((0, 0.02), (1, -0.01)):
        conv4 = {
            "filters": 2,
            "parameters": 9,
            "test_accuracy": 0.9,
            "difference": {"mean": gain, "ci95": 0.005},
        }
        facts = {"data": "hershey, 5-way 1-shot", "few_shot": "maml", "conv4": conv4, "evaluations": 6}
        write(folder, "regularized-evolution", seed, 0.9 + gain, 0.88, CANDIDATES, **facts)
    lines = searches_section(read_searches(folder)).splitlines()
    assert lines[-1] == (
        "| hershey, 5-way 1-shot | regularized-evolution, maml | 2 | 6 | 90.5 ± 2.1 | 88.0 ± 0.0 | "
        "90.0 ± 0.0 | +2.00 ± 0.50, −1.00 ± 0.50 | 15.0 → 80.0 |"
    )
    assert not any("hershey" in line for line in lines[:-3])


def test_what_was_tried_are_the_candidates_and_not_the_survivors(tmp_path: Path) -> None:
    write(tmp_path, "nasnet", 0, 0.9, 0.9, "loss,population_loss\n0.7,0.7\n0.8,0.7\n0.9,0.7\n", evaluations=3)
    (searches,) = read_searches(tmp_path).values()
    assert searches[0].tried == pytest.approx([0.3, 0.2, 0.1])
    assert searches_section(read_searches(tmp_path)).splitlines()[-1].endswith("| 30.0 → 10.0 |")


def test_variants_of_a_method_stand_apart(tmp_path: Path) -> None:
    variants = [DARTS(order=1).variant, DARTS(order=2).variant]
    assert variants == ["darts (first order)", "darts (second order)"]
    for seed, variant in enumerate(variants):
        write(tmp_path, variant, seed, 0.9, 0.9, EPOCHS, epochs=3)
    assert set(read_searches(tmp_path)) == {("mnist", variant) for variant in variants}


def test_searches_with_other_settings_are_no_seeds_of_one(tmp_path: Path) -> None:
    """Space, options, sizes, budget, epochs: what differs is said in the line's name."""
    for seed, own in enumerate(
        (
            {"space": "cells", "evaluations": 6},
            {"space": "nasbench201", "evaluations": 6},
            {"space": "cells", "evaluations": 500},
            {"space": "cells", "evaluations": 6, "retrain_epochs": 600},
            {"space": "cells", "evaluations": 6, "options": {"blocks": 3}},
            {"space": "cells", "evaluations": 6, "examples": {"train": 9}},
            {"space": "cells", "evaluations": 6, "settings": {"population": 4}},
        )
    ):
        write(tmp_path, "nasnet", seed, 0.9, 0.8, CANDIDATES, **own)
    groups = read_searches(tmp_path)
    assert [len(searches) for searches in groups.values()] == [1] * 7
    assert len(searches_section(groups).splitlines()[4:]) == 7
    assert draw_searches(groups).startswith(b"\x89PNG")


def test_a_line_says_what_sets_it_apart(tmp_path: Path) -> None:
    for seed, space in enumerate(("cells", "cells", "nasbench201")):
        write(tmp_path, "nasnet", seed, 0.9, 0.8, CANDIDATES, evaluations=6, space=space)
    assert {name: len(searches) for (_, name), searches in read_searches(tmp_path).items()} == {
        "nasnet, space cells": 2,
        "nasnet, space nasbench201": 1,
    }


def test_in_a_given_time_seeds_come_to_different_numbers(tmp_path: Path) -> None:
    for seed in (0, 1):
        write(tmp_path, "nasnet", seed, 0.9, 0.8, CANDIDATES, evaluations=6 + seed)
        path = tmp_path / f"nasnet-{seed}" / "result.json"
        result = json.loads(path.read_text())
        result["control"] |= {"budget": "60.0 s of evaluations", "evaluations": 5 + seed}
        path.write_text(json.dumps(result))
    assert "| nasnet | 2 | 60.0 s |" in searches_section(read_searches(tmp_path))


def test_a_seed_counts_once(folder: Path) -> None:
    shutil.copytree(folder / "nasnet-0", folder / "again")
    with pytest.raises(FphiError, match="seeds count once: remove one of the two"):
        read_searches(folder)


def test_a_training_that_failed_is_a_dash_and_no_number(folder: Path) -> None:
    def fail(name: str, *parts: str) -> None:
        path = folder / name / "result.json"
        result = json.loads(path.read_text())
        place = result
        for part in parts:
            place = place[part]
        place["test_accuracy"], place["failure"] = None, "diverged"
        place.pop("difference", None)
        path.write_text(json.dumps(result))

    fail("nasnet-0", "retrained")
    fail("enas-macro-0", "control", "retrained")
    conv4 = {"filters": 2, "parameters": 9, "test_accuracy": 0.9, "difference": {"mean": 0.1, "ci95": 0.01}}
    write(folder, "few", 0, 0.9, 0.8, CANDIDATES, data="tasks", few_shot="maml", conv4=conv4, evaluations=6)
    fail("few-0", "conv4")
    text = searches_section(read_searches(folder))
    assert (
        "| mnist | nasnet | 2 | 6 evaluations | 95.0 (1 failed) | 91.0 ± 1.4 | +5.00 | 15.0 → 80.0 |" in text
    )
    assert "| mnist | enas-macro | 1 | 3 epochs (random: 4) | 80.0 | – | – | 10.0 → 60.0 |" in text
    assert "| tasks | few, maml | 1 | 6 | 90.0 | 80.0 | – | – | 15.0 → 80.0 |" in text


def test_the_picture_is_drawn(folder: Path) -> None:
    assert draw_searches(read_searches(folder)).startswith(b"\x89PNG")


def test_a_search_without_its_control_and_no_search_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FphiError, match="holds no searches"):
        read_searches(tmp_path)
    write(tmp_path, "nasnet", 0, 0.9, None, CANDIDATES, evaluations=6)
    with pytest.raises(FphiError, match="without random search"):
        read_searches(tmp_path)
