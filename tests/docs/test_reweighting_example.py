"""The example of learned weights runs as a reader runs it, and shows what it is for."""

import runpy
import sys
from pathlib import Path

import pytest
import torch

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "reweighting.py"


def test_the_example_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), "--epochs", "6", "--noise", "flip"])
    with torch.random.fork_rng(devices=[]):
        results = runpy.run_path(str(EXAMPLE))["main"]()
    assert list(results) == ["plain", "cleaned", "reweight", "meta-weight-net"]
    assert all(0.5 < last <= best <= 1 for last, best in results.values())
    assert results["reweight"][0] > results["plain"][0] + 0.05
    printed = capsys.readouterr().out
    assert "1342 examples, 526 of them with wrong labels; 100 clean" in printed
    assert printed.count("last epoch") == 4
    assert "weights by loss" in printed
