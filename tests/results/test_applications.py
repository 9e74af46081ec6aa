"""The trainings in results/applications: the page has their numbers, and they load and answer."""

import json
from pathlib import Path
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
    named = {"network": f"{ROOT}/examples/intents.py:network"} if of_intents else {}
    learner: Any = fphi.load(run, **named)
    side = Config.read(run).part(TaskOptions).image_size
    shape = (512,) if of_intents else (1, side, side)
    generator = torch.Generator().manual_seed(0)
    shots = int(run.name.rpartition("-")[2]) if of_intents else 1
    support = torch.randn(1, 5 * shots, *shape, generator=generator)
    examples = fphi.Examples(support, torch.arange(5).repeat_interleave(shots)[None])
    answers = learner.solve_alone(examples, support[:, ::shots])
    assert answers.shape == (1, 5, 5)
    assert answers.isfinite().all()
