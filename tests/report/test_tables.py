"""Tables, published numbers, the README section and the paired comparison."""

import csv
import io
import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fphi.errors import FphiError, printable
from fphi.report import files
from fphi.report.compare import TaskScores, compare, comparison_table, paired_difference
from fphi.report.published import published
from fphi.report.results import BEGIN, END, read_rows, replace_section, results_csv, results_page
from fphi.report.rows import ResultRow, methods_table, sources
from fphi.report.tables import Table, percent, points
from fphi.run.disk.files import write_text
from fphi.run.meta.evaluation import Interval

MAML = ResultRow("maml", "P-MAML", 5, 1, 600, Interval(0.9816, 0.0041), Interval(0.9702, 0.0061), seed=1)
REPTILE = ResultRow("reptile", "P-REP", 5, 1, 600, Interval(0.9731, 0.0041), Interval(0.9602, 0.0061), seed=1)
SINE = ResultRow("maml", "sine", None, 10, 600, loss=Interval(0.71, 0.02))


def line(row: ResultRow) -> dict[str, str]:
    table = methods_table([row])
    return dict(zip(table.header, table.body[0], strict=True))


@pytest.mark.parametrize(
    ("mean", "ci95", "text"),
    [(0.98716, 0.0031, "98.72 ± 0.31"), (1.0, 0.0, "100.00 ± 0.00"), (0.2, None, "20.00")],
)
def test_percent_has_two_decimals(mean: float, ci95: float | None, text: str) -> None:
    assert percent(mean, ci95) == text


RECORD = {"method": "siamese", "protocol": "P-KOCH", "ways": 20, "shots": 1, "tasks": 9, "seed": 0}


def test_what_a_learner_tells_besides_has_a_column_and_its_own_published_number() -> None:
    measures = {"verification": {"mean": 0.93, "ci95": 0.01}}
    row = ResultRow.from_record(RECORD | {"measures": measures})  # type: ignore[arg-type]
    assert line(row)["Besides"] == "verification 93.00 ± 1.00, published 93.42 (−0.42)"
    assert "Published" not in line(row)  # Koch's 92.0 is of the trials
    assert "Besides" not in line(MAML)


def test_points_are_signed_and_zero_has_no_sign() -> None:
    assert [points(x) for x in (0.01, -0.01, 0.0, -1e-9)] == ["+1.00", "−1.00", "0.00", "0.00"]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (("maml", "P-MAML", 5, 1), [(98.7, 0.4, "transductive")]),
        (("fomaml", "P-MAML", 20, 1), [(89.4, 0.5, "transductive")]),
        (("reptile", "P-REP", 20, 5), [(97.12, 0.32, "transductive"), (96.65, 0.33, "inductive")]),
        (("anil", "P-MAML", 20, 1), [(96.2, 0.5, "transductive")]),
        (("anil", "P-MAML", 5, 1), []),
        (("meta_sgd", "p-maml", 5, 5), [(99.93, 0.09, "transductive")]),
        (("prototypical", "P-PROTO", 5, 1), [(98.8, None, "inductive")]),
        (("matching", "P-VIN", 20, 5), [(98.5, None, "inductive")]),
        (("matching", "P-PROTO", 20, 5), []),
        (("relation", "P-RN", 5, 1), [(99.6, 0.2, "transductive")]),
        (("snail", "P-VIN", 5, 5), [(99.78, 0.09, "inductive")]),
        (("siamese", "P-KOCH", 20, 1, "trials"), [(92.0, None, "inductive")]),
        (("siamese", "P-KOCH", 20, 1), [(93.42, None, "inductive")]),
        (("maml", "HW15", 5, 1), []),
        (("maml", "P-MAML", 5, 1, "validation"), []),
    ],
)
def test_published_numbers(
    key: tuple[str, str, int, int], expected: list[tuple[float, float | None, str]]
) -> None:
    assert [(p.value, p.interval, p.statistics) for p in published(*key)] == expected


def test_the_gap_compares_like_with_like_and_keeps_its_sign() -> None:
    assert line(MAML)["Published"] == "98.7 ± 0.4 (−0.54)"
    assert line(REPTILE)["Published"] == "97.68 ± 0.04 transductive (−0.37)\n95.39 ± 0.09 inductive (+0.63)"


def test_what_is_not_alike_stands_without_a_gap_and_says_why() -> None:
    trained_otherwise = replace(MAML, differs=("trained with 5 shots",))
    assert line(trained_otherwise)["Published"] == "98.7 ± 0.4"
    assert line(trained_otherwise)["Differs"] == "trained with 5 shots"
    relation = ResultRow("relation", "P-RN", 5, 1, 600, inductive=Interval(0.98, 0.01))
    assert line(relation)["Published"] == "99.6 ± 0.2 transductive"
    assert "chosen on test tasks" in sources([relation])[0]
    turned = ResultRow("prototypical", "P-PROTO", 5, 1, 600, inductive=Interval(0.98, 0.01), turns=8)
    assert line(turned)["Published"] == "98.8"
    assert line(turned)["Method"] == "prototypical\nover 8 turns"


def test_columns_with_nothing_in_them_are_left_out() -> None:
    assert methods_table([SINE]).header == ("Method", "Tasks", "Loss")
    assert "Loss" not in methods_table([MAML]).header


def test_a_row_says_all_that_distinguishes_it() -> None:
    row = replace(MAML, start="reptile", frozen="network", images="53×53 grey", split="trials", run="mine")
    assert line(row)["Method"] == "maml\nfrom reptile, network frozen\nmine"
    assert line(row)["Tasks"] == "P-MAML, trials, 53×53 grey\n5-way 1-shot\n600 tasks, seed 1"


def test_each_source_is_listed_once() -> None:
    assert len(sources([MAML, MAML, REPTILE])) == 3


@given(st.text(st.characters(blacklist_categories=("Cs", "Cc"))))
def test_html_shows_any_cell(cell: str) -> None:
    found: list[str] = []
    parser = HTMLParser()
    parser.handle_data = found.append  # type: ignore[assignment,method-assign]
    parser.feed(Table(("a",), ((cell,),)).html())
    parser.close()
    assert "".join(found).replace("\n", "") == "a" + printable(cell)


def test_markdown_cells_stay_in_their_column() -> None:
    lines = Table(("a", "b"), (("1|2", "x\ny"),)).markdown().splitlines()
    assert lines[2] == "| 1\\|2 | x; y |"


def test_terminal_table_takes_brackets_as_text() -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(Table(("[b]a[/b]",), (("[red]x",),)).rich())
    text = console.export_text()
    assert "[b]a[/b]" in text
    assert "[red]x" in text


def test_paired_interval_by_hand() -> None:
    # Differences 0.2, 0.0, 0.4: mean 0.2, variance (0 + 0.04 + 0.04) / 2 = 0.04.
    mean, ci95 = paired_difference(torch.tensor([0.4, 1.0, 0.2]), torch.tensor([0.6, 1.0, 0.6]))
    assert mean == pytest.approx(0.2, abs=1e-7)
    assert ci95 == pytest.approx(1.96 * 0.2 / 3**0.5, abs=1e-7)


def test_a_constant_advantage_is_clear_however_much_tasks_differ() -> None:
    hard_and_easy = torch.tensor([0.0, 0.9, 0.3, 0.6])
    first, second = TaskScores("a", hard_and_easy), TaskScores("b", hard_and_easy + 0.01)
    (comparison,) = compare([first, second])
    assert comparison.clear
    assert comparison_table([comparison]).body == (("b", "46.00", "a", "+1.00 ± 0.00", "4", "yes"),)


def test_only_the_same_tasks_are_compared() -> None:
    first = TaskScores("a", torch.zeros(4), {"shots": 1})
    with pytest.raises(FphiError, match="4 and 5 tasks"):
        compare([first, TaskScores("b", torch.zeros(5), {"shots": 1})])
    with pytest.raises(FphiError, match="shots is 1 and 5"):
        compare([first, TaskScores("b", torch.zeros(4), {"shots": 5})])
    with pytest.raises(FphiError, match="accuracy and loss"):
        compare([first, TaskScores("b", torch.zeros(4), {"shots": 1}, "loss")])
    with pytest.raises(FphiError, match="at least 2"):
        compare([first])


def test_losses_are_compared_as_they_are() -> None:
    first = TaskScores("a", torch.tensor([1.0, 3.0]), kind="loss")
    (comparison,) = compare([first, TaskScores("b", torch.tensor([0.5, 2.5]), kind="loss")])
    table = comparison_table([comparison])
    assert table.header == ("Method", "Loss", "Against", "Difference", "Test tasks", "Clear")
    assert table.body == (("b", "1.5000", "a", "−0.5000 ± 0.0000", "2", "yes"),)


ACCURACY = {"inductive": {"mean": 0.9816, "ci95": 0.0041}}


def save(run: Path, name: str = "5w1s", **own: object) -> None:
    record = {"method": "prototypical", "protocol": "P-PROTO", "ways": 5, "shots": 1, "tasks": 3, "seed": 0}
    files.write_test(run, name, record | {"accuracy": ACCURACY} | own, {"inductive": torch.ones(3)})


def test_the_section_is_replaced_and_nothing_else() -> None:
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    once = replace_section(text, "new")
    assert once == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    assert replace_section(once, "new") == once


@pytest.mark.parametrize("text", ["", BEGIN, f"{END}{BEGIN}", f"{BEGIN}{BEGIN}{END}"])
def test_missing_or_repeated_markers_are_an_error(text: str) -> None:
    with pytest.raises(FphiError, match="once each"):
        replace_section(text, "new")


def test_rows_are_found_at_any_depth_and_link_to_their_folders(tmp_path: Path) -> None:
    save(tmp_path / "P-PROTO" / "prototypical")
    save(tmp_path / "P-PROTO" / "prototypical", "20w1s", ways=20)
    save(tmp_path / "mine", protocol="mine", method="maml")
    assert [(row.run, row.ways) for row in read_rows(tmp_path)] == [
        ("P-PROTO/prototypical", 5),
        ("P-PROTO/prototypical", 20),
        ("mine", 5),
    ]
    page = results_page(tmp_path)
    assert page.index("## P-PROTO\n") < page.index("## mine\n")
    assert "[P-PROTO/prototypical](P-PROTO/prototypical)" in page
    assert "98.16 ± 0.41 | 98.8 (−0.64) |" in page


def test_rows_as_csv(tmp_path: Path) -> None:
    save(tmp_path / "run", measures={"verification": {"mean": 0.5, "ci95": None}}, differs=["a", "b"])
    (row,) = csv.DictReader(io.StringIO(results_csv(tmp_path)))
    shown = {name: value for name, value in row.items() if value not in ("", "test", "1")}
    assert shown == {
        "run": "run", "method": "prototypical", "protocol": "P-PROTO", "ways": "5", "tasks": "3", "seed": "0",
        "differs": "a; b", "inductive": "0.9816", "inductive ± 95 %": "0.0041", "verification": "0.5",
        "verification ± 95 %": "inf",
    }  # fmt: skip


def test_a_test_is_read_as_it_was_written(tmp_path: Path) -> None:
    save(tmp_path, loss={"mean": float("inf"), "ci95": float("nan")}, differs=["another loss"])
    save(tmp_path, "20w1s-trials", ways=20, split="trials")
    assert list(files.read_tests(tmp_path)) == ["20w1s-trials", "5w1s"]
    record = files.read_tests(tmp_path)["5w1s"]
    assert record["loss"] == {"mean": None, "ci95": None}
    assert files.read_scores(tmp_path, "5w1s")["inductive"].tolist() == [1.0, 1.0, 1.0]
    assert files.read_scores(tmp_path, "none") == {}
    assert files.read_tests(tmp_path / "none") == {}


def test_what_differs_is_kept_when_a_run_is_tested_again(tmp_path: Path) -> None:
    save(tmp_path, differs=["another loss"])
    save(tmp_path, seed=1)
    assert files.read_tests(tmp_path)["5w1s"]["seed"] == 1
    assert files.read_tests(tmp_path)["5w1s"]["differs"] == ["another loss"]
    save(tmp_path, differs=[])
    assert files.read_tests(tmp_path)["5w1s"]["differs"] == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "no JSON object"),
        ("{}", "lacks method, protocol, seed, shots, tasks, ways"),
        (json.dumps(RECORD | {"measures": {"verification": 0.93}}), "has no valid verification"),
        (json.dumps(RECORD | {"ways": "5", "differs": "all"}), "has no valid ways, differs"),
    ],
)
def test_a_damaged_record_is_named(tmp_path: Path, text: str, message: str) -> None:
    write_text(tmp_path / "tests" / "5w1s.json", text)
    with pytest.raises(FphiError, match=message):
        files.read_tests(tmp_path)


def test_an_incomplete_record_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(FphiError, match="test 5w1s has no valid shots"):
        save(tmp_path, shots="one")
    assert list(tmp_path.iterdir()) == []


def test_a_shown_table_cuts_no_figure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Table(("Method", "Accuracy", "Run"), (("prototypical", "98.41 ± 0.19", "prototypical-5w1s"),))
    for columns in ("20", "200"):
        monkeypatch.setenv("COLUMNS", columns)
        table.show("Accuracies")
        shown = capsys.readouterr().out
        assert all(word in shown for word in ("prototypical ", "98.41 ± 0.19", "prototypical-5w1s"))
        assert "…" not in shown
        assert len({len(line) for line in shown.splitlines()[1:]}) == 1


def test_a_table_that_does_not_fit_becomes_lists_of_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    measures = {f"instance {i}": Interval(0.9, 0.01) for i in range(1, 11)}
    methods_table([replace(MAML, measures=measures, differs=("x" * 99,), run="a-folder"), SINE]).show()
    lines = capsys.readouterr().out.splitlines()
    assert {len(line) for line in lines} <= set(range(81))
    assert any("instance 10 90.00 ± 1.00" in line for line in lines)
    assert "Transductive" in lines[6]
    assert "98.16 ± 0.41" in lines[6]
