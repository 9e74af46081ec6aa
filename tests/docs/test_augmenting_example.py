"""The example of augmentation runs as a reader runs it, by hand and with a file."""

import runpy
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fphi.augmentation import Augmentation, PBAPolicy, Policy, Schedule

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "augmenting.py"


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> dict[str, float]:
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), *words])
    with torch.random.fork_rng(devices=[]):
        found: dict[str, float] = runpy.run_path(str(EXAMPLE))["main"]()
    return found


def test_a_policy_of_the_literature(monkeypatch: pytest.MonkeyPatch) -> None:
    accuracies = run(monkeypatch, "--epochs", "5")
    assert list(accuracies) == ["as they are", "augmented as batches", "augmented one by one"]
    assert all(accuracy > 0.8 for accuracy in accuracies.values())
    assert len(set(accuracies.values())) > 1


def test_a_name_that_is_none_is_said_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, "--augmentation", "nope")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("--augmentation nope: cannot read nope")
    assert line.endswith("trivialaugment")


def test_a_schedule_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    schedule = Schedule(((1, PBAPolicy.zero()), (2, Policy.of([[("Rotate", 1, 2)]]))))
    Augmentation(schedule).save(tmp_path / "augmentation.json")
    epochs, augmented = Counter[tuple[bool, int]](), Augmentation._augmented

    def noted(self: Augmentation, batch: Tensor, generator: torch.Generator | None) -> Tensor:
        epochs[len(batch) == 1, self.epoch] += 1
        return augmented(self, batch, generator)

    monkeypatch.setattr(Augmentation, "_augmented", noted)
    accuracies = run(monkeypatch, "--epochs", "4", "--augmentation", str(tmp_path))
    assert all(accuracy > 0.7 for accuracy in accuracies.values())
    assert epochs == {(alone, epoch): 1000 if alone else 20 for alone in (False, True) for epoch in range(4)}
