"""The table of searches: pairs with random search over seeds, and what was tried over time."""

import json
from pathlib import Path
from typing import Any

import pytest

from fphi.report.results import BEGIN, END
from fphi.report.searches import main, read_searches, searches_section


def write(
    folder: Path, method: str, seed: int, found: float, control: float | None, tried: str, **own: Any
) -> None:
    folder = folder / f"{method}-{seed}"
    folder.mkdir(parents=True)
    beside = None if control is None else {"evaluations": 4, "retrained": {"test_accuracy": control}}
    result = {"data": "mnist", "method": method, "seed": seed, "retrained": {"test_accuracy": found}}
    (folder / "result.json").write_text(json.dumps({**result, "control": beside, **own}))
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
        conv4 = {"test_accuracy": 0.9, "difference": {"mean": gain, "ci95": 0.005}}
        facts = {"data": "hershey, 5-way 1-shot", "few_shot": "maml", "conv4": conv4, "evaluations": 6}
        write(folder, "regularized-evolution", seed, 0.9 + gain, 0.88, CANDIDATES, **facts)
    lines = searches_section(read_searches(folder)).splitlines()
    assert lines[-1] == (
        "| hershey, 5-way 1-shot | regularized-evolution, maml | 2 | 6 | 90.5 ± 2.1 | 88.0 ± 0.0 | "
        "90.0 ± 0.0 | +2.00 ± 0.50, −1.00 ± 0.50 | 15.0 → 80.0 |"
    )
    assert not any("hershey" in line for line in lines[:-3])


def test_the_mean_of_a_population_goes_before_that_of_the_candidates(tmp_path: Path) -> None:
    write(tmp_path, "nasnet", 0, 0.9, 0.9, "loss,population_loss\n0.9,0.5\n0.9,0.4\n0.9,0.3\n", evaluations=3)
    assert read_searches(tmp_path)["mnist", "nasnet"][0].tried == pytest.approx([0.5, 0.6, 0.7])


def test_the_section_and_the_picture_are_written_and_checked(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document, picture = tmp_path / "page.md", tmp_path / "searches.png"
    document.write_text(f"before\n{BEGIN}\n{END}\nafter\n")
    words = [str(document), str(folder)]
    assert main([*words, "--check"]) == 1
    assert "out of date" in capsys.readouterr().out
    assert main([*words, "--picture", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert document.read_text().startswith(f"before\n{BEGIN}\nTest accuracy")
    assert main([*words, "--check"]) == 0


def test_a_search_without_its_control_and_no_search_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = tmp_path / "page.md"
    assert main([str(document), str(tmp_path)]) == 2
    assert "holds no searches" in capsys.readouterr().err
    write(tmp_path, "nasnet", 0, 0.9, None, CANDIDATES, evaluations=6)
    assert main([str(document), str(tmp_path)]) == 2
    assert "without random search" in capsys.readouterr().err
