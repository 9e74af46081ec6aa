"""The documents that hold the tables, the summary of all methods, and runs with several tests."""

import json
from pathlib import Path

import pytest
import torch

from fphi.errors import FphiError
from fphi.report.files import write_test
from fphi.report.results import BEGIN, END, results_page, write_results
from fphi.report.rows import ResultRow
from fphi.report.runs import read_run
from fphi.report.summary import summary_of
from fphi.run.disk.files import write_text
from fphi.run.meta.evaluation import Interval


def row(method: str, protocol: str, ways: int, shots: int, accuracy: float, **own: object) -> ResultRow:
    fields = {"run": f"{protocol}/{method}", **own}
    return ResultRow(method, protocol, ways, shots, 600, inductive=Interval(accuracy, 0.01), **fields)  # type: ignore[arg-type]


def lines(*rows: ResultRow) -> list[tuple[str, ...]]:
    return list(summary_of(rows).body)


def test_a_method_has_one_line_with_the_published_numbers_in_its_cells() -> None:
    assert lines(
        row("prototypical", "P-PROTO", 5, 1, 0.984),
        row("prototypical", "P-PROTO", 20, 1, 0.952),
        row("prototypical", "P-RN", 5, 1, 0.99),
        row("mann", "P-MANN", 5, 9, 0.98),
    ) == [("prototypical", "P-PROTO", "98.40 (98.8)", "", "95.20 (96.0)", "")]


def test_the_protocol_of_the_papers_numbers_goes_before_one_with_more_sizes() -> None:
    others = [row("snail", "P-PROTO", ways, shots, 0.9) for ways in (5, 20) for shots in (1, 5)]
    assert lines(*others, row("snail", "P-VIN", 5, 5, 0.99)) == [
        ("snail", "P-VIN", "", "99.00 (99.78±0.09)", "", "")
    ]
    assert lines(*others)[0][1] == "P-PROTO"


def test_the_statistics_are_those_of_the_paper() -> None:
    shared = {"transductive": Interval(0.98, 0.01)}
    found = lines(
        row("anil", "P-MAML", 5, 1, 0.9, **shared),  # the paper has 20 ways only
        row("from-scratch", "P-MAML", 5, 1, 0.7, **shared),
        row("reptile", "P-REP", 5, 1, 0.94, **shared),  # the paper has both
    )
    assert [line[1:3] for line in found] == [
        ("P-MAML, transductive", "98.00"),
        ("P-MAML", "70.00"),
        ("P-REP", "94.00 (95.39±0.09)"),
    ]


def test_no_accuracy_decides_which_training_is_shown() -> None:
    plain = row("prototypical", "P-PROTO", 5, 1, 0.9)
    better = row("prototypical", "P-PROTO", 5, 1, 0.99, run="P-PROTO/prototypical-more")
    trials = row("prototypical", "P-PROTO", 5, 1, 0.99, split="trials")
    turned = row("prototypical", "P-PROTO", 5, 1, 0.99, turns=8)
    assert lines(better, trials, turned, plain)[0][2] == "90.00 (98.8)"


def test_what_differs_has_a_mark_and_no_published_number() -> None:
    assert (
        lines(row("prototypical", "P-PROTO", 5, 5, 0.9, differs=("trained with 1 shot",)))[0][3] == "90.00†"
    )


def test_there_are_at_most_14_lines() -> None:
    many = [row(f"method-{i}", "P-PROTO", 5, 1, 0.9) for i in range(20)]
    assert len(summary_of(many).markdown().splitlines()) == 14


def test_of_more_methods_those_with_numbers_at_most_sizes_are_shown() -> None:
    many = [row(f"method-{i}", "P-PROTO", 5, 1, 0.9) for i in range(20)]
    wide = [row("wide", "P-PROTO", 5, shots, 0.9) for shots in (1, 5)]
    shown = [line[0] for line in lines(*many, *wide)]
    assert shown == [*sorted(f"method-{i}" for i in range(20))[:11], "wide"]


RECORD = {"method": "maml", "protocol": "P-MAML", "shots": 5, "tasks": 2, "seed": 0}
ACCURACY = {"accuracy": {"inductive": {"mean": 0.5, "ci95": 0.1}}}


def save(run: Path, name: str, ways: int | None, **own: object) -> None:
    write_test(run, name, RECORD | {"ways": ways} | own, {"inductive": torch.tensor([0.0, 1.0])})


SEARCH = {
    "data": "mnist", "method": "nasnet", "seed": 0, "evaluations": 3, "seconds": 1.0, "validation_accuracy": 0.9,
    "architecture": "a", "retrain_epochs": 1, "retrained": {"parameters": 9, "test_accuracy": 0.9},
}  # fmt: skip


def test_documents_are_written_once_and_then_up_to_date(tmp_path: Path) -> None:
    results, docs = tmp_path / "results", tmp_path / "docs"
    run = results / "P-MAML" / "maml"
    write_text(run / "config.yaml", "method: maml\n")
    save(run, "5w5s", 5, **ACCURACY)
    write_text(
        results / "searches" / "nasnet-0" / "result.json",
        json.dumps(SEARCH | {"control": SEARCH}),
    )
    write_text(results / "searches" / "nasnet-0" / "history.csv", "loss\n0.5\n0.4\n0.3\n")
    pages = [tmp_path / "README.md", docs / "architecture.md"]
    for page in pages:
        write_text(page, f"before\n{BEGIN}\n{END}\nafter\n")
    (docs / "images" / "architecture").mkdir(parents=True)
    stale = {*pages, results / "README.md"}
    assert set(write_results(tmp_path / "README.md", results, check=True)) == stale
    assert not (results / "README.md").exists()
    assert set(write_results(tmp_path / "README.md", results)) == stale
    assert write_results(tmp_path / "README.md", results, check=True) == []
    assert "| maml | P-MAML | " in (tmp_path / "README.md").read_text()
    assert "nasnet" in (docs / "architecture.md").read_text()
    assert "| [P-MAML/maml](P-MAML/maml) |  |  | none | 5w5s |" in results_page(results)
    save(run, "5w1s", 5, shots=1, **ACCURACY)
    assert write_results(tmp_path / "README.md", results, check=True) == [
        tmp_path / "README.md",
        results / "README.md",
    ]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FphiError, match="none is not a folder"):
        write_results(tmp_path / "README.md", tmp_path / "none")


def test_of_several_tests_that_of_the_trained_size_is_read_unless_another_is_named(tmp_path: Path) -> None:
    save(tmp_path, "20w5s", 20, **ACCURACY)
    save(tmp_path, "5w5s", 5, **ACCURACY)
    assert read_run(tmp_path).record["ways"] == 20  # the first
    write_text(tmp_path / "config.yaml", "ways: 5\nshots: 5\n")
    assert read_run(tmp_path).record["ways"] == 5
    assert read_run(tmp_path, "20w5s").record["ways"] == 20
    with pytest.raises(FphiError, match="has no test 1w1s, but 20w5s, 5w5s; choose one of these"):
        read_run(tmp_path, "1w1s")


def test_the_inductive_accuracy_stands_for_both_and_regression_has_its_loss(tmp_path: Path) -> None:
    save(tmp_path / "a", "5w5s", 5, **ACCURACY)
    scores = read_run(tmp_path / "a").task_scores("transductive")
    assert (scores.kind, scores.values.tolist()) == ("accuracy", [0.0, 1.0])
    write_test(tmp_path / "b", "5s", RECORD | {"ways": None}, {"loss": torch.tensor([2.0, 3.0])})
    scores = read_run(tmp_path / "b").task_scores(name="sines")
    assert (scores.name, scores.kind, scores.values.tolist()) == ("sines", "loss", [2.0, 3.0])
    write_test(tmp_path / "c", "5s", RECORD | {"ways": None}, {})
    with pytest.raises(FphiError, match="c lacks the values per task"):
        read_run(tmp_path / "c").task_scores()
