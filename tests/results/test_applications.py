"""The trainings in results/applications: the page has their numbers, and they load and answer."""

import json
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
import torch

import fphi
from fphi.experiment.config import Config
from fphi.tasks.options import TaskOptions

ROOT = Path(__file__).parent.parent.parent
KEPT = ROOT / "results" / "applications"
ROWS = json.loads((KEPT / "intents" / "results.json").read_text(encoding="utf-8"))["rows"]
SPOKEN = json.loads((KEPT / "speech" / "results.json").read_text(encoding="utf-8"))["rows"]
FROZEN = {"means", "ridge", "logistic, C=10"}
RUNS = sorted(path.parent for path in KEPT.glob("*/*/config.yaml"))


def test_the_page_has_the_numbers() -> None:
    page = (ROOT / "docs" / "applications.md").read_text(encoding="utf-8")
    told = [f"{100 * row['accuracy']:.2f} ± {100 * row['half_width']:.2f}" for row in ROWS]
    told += [f"{100 * row['accuracy']:.1f} ± {100 * row['half_width']:.1f}" for row in SPOKEN]
    assert len(told) == 21 + 11
    assert all(number in page for number in told)


def test_the_spoken_network_is_on_the_page() -> None:
    page = (ROOT / "docs" / "applications.md").read_text(encoding="utf-8")
    compared = json.loads((KEPT / "spoken-network" / "compared.json").read_text(encoding="utf-8"))
    for found in compared.values():
        values = [100 * accuracy for accuracy in found["test_accuracy"]]
        assert f"{fmean(values):.1f} ± {stdev(values):.1f}" in page
    result = json.loads((KEPT / "spoken-network" / "result.json").read_text(encoding="utf-8"))
    for search in (result, result["control"]):
        assert f"{100 * search['validation_accuracy']:.1f}" in page
        assert f"{100 * search['retrained']['test_accuracy']:.1f}" in page
    assert f"{compared['found']['parameters']:,}" in page
    assert compared["found"]["parameters"] == result["retrained"]["parameters"]


def test_the_tables_are_on_their_page() -> None:
    page = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8").replace("**", "")
    kept = json.loads((KEPT / "tables" / "results.json").read_text(encoding="utf-8"))["tables"]
    assert len(kept) == 24
    for table, models in kept.items():
        cells = " | ".join(f"{m['auc']:.3f} / {m['loss']:.3f}" for m in models.values())
        assert f"| {table} | {cells} |" in page
    whole = " | ".join(
        f"{fmean(of[m]['auc'] for of in kept.values()):.4f} / {fmean(of[m]['loss'] for of in kept.values()):.3f}"
        for m in kept["iris"]
    )
    assert f"| mean of all | {whole} |" in page


def test_each_learned_row_has_its_training() -> None:
    learned = {f"{row['method']}-{row['shots']}" for row in ROWS if row["method"] not in FROZEN}
    assert {run.name for run in RUNS if run.parent.name == "intents"} == learned
    assert {path.name for run in RUNS for path in run.iterdir()} == {
        "best.safetensors",
        "config.yaml",
        "log.csv",
    }


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run.parent.name}-{run.name}")
def test_a_training_loads_and_answers(run: Path) -> None:
    of_intents = run.parent.name == "intents"
    learner: Any = fphi.load(run, network=f"{ROOT}/examples/intents.py:network" if of_intents else None)
    side = 0 if of_intents else Config.read(run).part(TaskOptions).image_size
    shape = (512,) if of_intents else (1, side, side)
    generator = torch.Generator().manual_seed(0)
    shots = int(run.name.rpartition("-")[2]) if of_intents else 1
    support = torch.randn(1, 5 * shots, *shape, generator=generator)
    examples = fphi.Examples(support, torch.arange(5).repeat_interleave(shots)[None])
    answers = learner.solve_alone(examples, support[:, ::shots])
    assert answers.shape == (1, 5, 5)
    assert answers.isfinite().all()
