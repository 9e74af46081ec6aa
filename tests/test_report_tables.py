"""Tables, published numbers, the README section and the paired comparison."""

import io
import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fphi.errors import FphiError
from fphi.report.compare import TaskScores, compare, comparison_table, paired_difference
from fphi.report.files import read_result, write_text
from fphi.report.published import published
from fphi.report.results import BEGIN, END, main, read_rows, replace_section, results_section
from fphi.report.tables import Interval, Row, Table, methods_table, percent, points, sources

MAML = Row("maml", "P-MAML", 5, 1, 600, Interval(0.9816, 0.0041), Interval(0.9702, 0.0061), seed=1)
REPTILE = Row("reptile", "P-REP", 5, 1, 600, Interval(0.9731, 0.0041), Interval(0.9602, 0.0061), seed=1)
SINE = Row("maml", "sine", 1, 10, 600, loss=Interval(0.71, 0.02))


def line(row: Row) -> dict[str, str]:
    table = methods_table([row])
    return dict(zip(table.header, table.body[0], strict=True))


@pytest.mark.parametrize(
    ("mean", "ci95", "text"),
    [(0.98716, 0.0031, "98.72 ± 0.31"), (1.0, 0.0, "100.00 ± 0.00"), (0.2, None, "20.00")],
)
def test_percent_has_two_decimals(mean: float, ci95: float | None, text: str) -> None:
    assert percent(mean, ci95) == text


def test_what_a_learner_tells_besides_has_a_column_and_a_bad_record_is_refused(tmp_path: Path) -> None:
    result = {
        "method": "siamese", "protocol": "P-KOCH", "ways": 20, "shots": 1, "tasks": 9, "seed": 0,
        "measures": {"verification": {"mean": 0.93, "ci95": 0.01}},
    }  # fmt: skip
    path = tmp_path / "result.json"
    path.write_text(json.dumps(result))
    assert line(Row.from_result(read_result(path)))["Besides"] == "verification 93.00 ± 1.00"
    assert "Besides" not in line(MAML)
    path.write_text(json.dumps(result | {"measures": {"verification": 0.93}}))
    with pytest.raises(FphiError, match="has no valid verification"):
        read_result(path)


def test_a_number_of_another_protocol_is_marked_as_such() -> None:
    (note,) = sources([Row("matching", "P-PROTO", 5, 1, 600, Interval(0.9, 0.1))])
    assert "taken under P-VIN, and printed beside P-PROTO by later tables" in note


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
        (("matching", "P-PROTO", 20, 5), [(98.5, None, "inductive")]),
        (("relation", "P-RN", 5, 1), [(99.6, 0.2, "transductive")]),
        (("snail", "P-VIN", 5, 5), [(99.78, 0.09, "inductive")]),
        (("siamese", "P-KOCH", 20, 1), [(92.0, None, "inductive")]),
        (("maml", "HW15", 5, 1), []),
    ],
)
def test_published_numbers(
    key: tuple[str, str, int, int], expected: list[tuple[float, float | None, str]]
) -> None:
    assert [(p.value, p.interval, p.setting) for p in published(*key)] == expected


def test_an_unchecked_number_says_so() -> None:
    row = Row("from-scratch", "unstated", 5, 1, 600, Interval(0.5, 0.01))
    assert not row.published[0].verified
    assert line(row)["Published"] == "52 (unverified)"
    assert line(row)["Gap"] == "not comparable"  # nobody knows whether it was transductive


def test_the_gap_compares_like_with_like_and_keeps_its_sign() -> None:
    assert line(MAML)["Gap"] == "−0.54"
    assert line(REPTILE)["Published"] == "97.68 ± 0.04 (transductive)\n95.39 ± 0.09 (inductive)"
    assert line(REPTILE)["Gap"] == "−0.37\n+0.63"


def test_columns_with_nothing_in_them_are_left_out() -> None:
    assert methods_table([SINE]).header == ("Method", "Protocol", "Task", "Loss", "Test tasks")
    assert "Loss" not in methods_table([MAML]).header


def test_each_source_is_listed_once() -> None:
    assert len(sources([MAML, MAML, REPTILE])) == 3


@given(st.text(st.characters(blacklist_categories=("Cs", "Cc"))))
def test_html_gives_back_any_cell(cell: str) -> None:
    found: list[str] = []
    parser = HTMLParser()
    parser.handle_data = found.append  # type: ignore[assignment,method-assign]
    parser.feed(Table(("a",), ((cell,),)).html())
    parser.close()
    assert "".join(found).replace("\n", "") == "a" + cell


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
    with pytest.raises(FphiError, match="at least 2"):
        compare([first])


def save(folder: Path, name: str, seed: int = 1) -> None:
    accuracy = {"transductive": {"mean": 0.9816, "ci95": 0.0041}}
    result = {"method": "maml", "protocol": "P-MAML", "ways": 5, "shots": 1, "tasks": 600, "seed": seed}
    write_text(folder / name / "result.json", json.dumps(result | {"accuracy": accuracy}))


def test_the_section_is_replaced_and_nothing_else() -> None:
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    once = replace_section(text, "new")
    assert once == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    assert replace_section(once, "new") == once


@pytest.mark.parametrize("text", ["", BEGIN, f"{END}{BEGIN}", f"{BEGIN}{BEGIN}{END}"])
def test_missing_or_repeated_markers_are_an_error(text: str) -> None:
    with pytest.raises(FphiError, match="once each"):
        replace_section(text, "new")


def test_check_fails_until_the_readme_is_written(tmp_path: Path) -> None:
    readme, results = tmp_path / "README.md", tmp_path / "results"
    write_text(readme, f"# Title\n{BEGIN}\n{END}\n")
    save(results, "maml-2", seed=2)
    save(results, "maml-1", seed=1)
    command = [str(readme), str(results)]
    before = readme.read_text()
    assert main([*command, "--check"]) == 1
    assert readme.read_text() == before
    assert main(command) == 0
    assert main([*command, "--check"]) == 0
    written = readme.read_text()
    assert main([*command, "--methods", "reptile", "snail"]) == 0
    assert "No results yet." in readme.read_text()
    assert written.index("maml-1") < written.index("maml-2")
    assert "98.16 ± 0.41 | 98.7 ± 0.4 | −0.54 | 600 | 1 | [maml-1](results/maml-1/result.json)" in written


def test_no_results_are_said_in_words(tmp_path: Path) -> None:
    assert results_section(read_rows(tmp_path)) == "No results yet."


def test_a_wrong_call_names_the_value_and_exits_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "README.md"), str(tmp_path / "none")]) == 2
    assert "none is not a folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"), [("{", "not valid JSON"), ("[]", "no JSON object"), ("{}", "lacks")]
)
def test_a_damaged_result_is_named(tmp_path: Path, text: str, message: str) -> None:
    write_text(tmp_path / "result.json", text)
    with pytest.raises(FphiError, match=message):
        read_result(tmp_path / "result.json")


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
