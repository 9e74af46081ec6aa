"""The tutorials run as a reader runs them, and show what they promise."""

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch

from fphi.methods import table

FOLDER = Path(__file__).parent.parent.parent / "examples" / "tutorials"


def run(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Its names at the end; what it writes lies in the folder."""
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setattr(table._TABLE, "entries", dict(table.methods()))
    with torch.random.fork_rng(devices=[]):
        return runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")


def own_folder(names: dict[str, Any]) -> None:
    assert names["accuracy"] > 0.85
    assert names["refused"] >= 10  # of 20 images of a digit that nobody showed
    assert names["again"].classes_.tolist() == ["0", "1", "2", "3", "4"]


def one_text(names: dict[str, Any]) -> None:
    assert names["model"].predict(names["questions"]).tolist() == ["card", "transfer", "rate"]
    assert names["model"].predict(["please reset my password"]).tolist() == ["password"]


def one_sound(names: dict[str, Any]) -> None:
    assert names["accuracy"] >= 0.9
    signal = names["signal"]
    assert names["model"].predict([signal("siren") for _ in range(8)]).tolist() == ["siren"] * 8


def own_backbone(names: dict[str, Any]) -> None:
    assert names["accuracy"] > 0.7
    assert names["after"].loss < names["before"].loss - 0.1


def own_method(names: dict[str, Any]) -> None:
    assert names["after"]["mean"] > names["before"].accuracy + 0.05


def resume_and_compare(names: dict[str, Any]) -> None:
    assert names["pair"].ci95 > 0


def export(names: dict[str, Any]) -> None:
    assert names["difference"] < 1e-4
    assert 0 < names["size"] < 1_000_000


PROMISES = [own_folder, one_text, one_sound, own_backbone, own_method, resume_and_compare, export]


@pytest.mark.parametrize("promised", PROMISES, ids=lambda promised: promised.__name__)
def test_a_tutorial(promised: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    promised(run(promised.__name__, tmp_path, monkeypatch))


def test_there_are_no_others() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == {promised.__name__ for promised in PROMISES}
