"""The searches for augmentation in results/augmentation: the page has their numbers, and a loop takes what was found."""

import json
from pathlib import Path

import pytest
import torch

import fphi

ROOT = Path(__file__).parent.parent.parent
RUNS = sorted((ROOT / "results" / "augmentation").iterdir())


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_the_page_has_the_numbers(run: Path) -> None:
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    found = result["retrained"]["test_accuracy"]
    page = (ROOT / "docs" / "augmentation.md").read_text(encoding="utf-8")
    (line,) = [x for x in page.splitlines() if x.startswith(f"| `{result['method']}` | {100 * found:.2f}")]
    for cell, way in zip(line.split(" | ")[2:], result["beside"].values(), strict=True):
        gain = f"{100 * (found - way['test_accuracy']):+.2f}".replace("-", "−")
        assert cell.startswith(f"{100 * way['test_accuracy']:.2f} ({gain} ± ")


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_what_was_found_augments(run: Path) -> None:
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    augment = fphi.augmentation.load(run)
    augment.set_epoch(result["candidate_epochs"] - 1)  # a schedule may begin with images as they are
    images = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    changed = augment(images, torch.Generator().manual_seed(1))
    assert changed.shape == images.shape
    assert not torch.equal(changed, images)
