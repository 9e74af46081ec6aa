"""What a file names is text: no column, no HTML, no formula, nothing that a terminal obeys."""

import html
import json
import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from matplotlib.text import Text

from fphi.errors import printable
from fphi.report.plots import new_figure, to_png
from fphi.report.results import results_page
from fphi.report.tables import Table
from fphi.run.show.say import say

NAMES = ["a|b", "$\\frac{$", "<script>", "&lt;", "\x1b[2Jgone", "a\nb|c", "\x9b31m", "$x$|<b>"]
LINKS = [
    *("[a](https://b.c)", "![a](b.png)", "[a][b]", "[a]: b", "<https://b.c>", "https://b.c", "see www.b.c"),
    *("*a*", "__a__", "`a`", "~~a~~", "\\*a*", "\\", "a\u202eb", "a\u2028b", "*[$`|_~]*"),
]


def as_shown(text: str) -> str:
    """What a reader of Markdown sees: its escapes taken back."""
    return html.unescape(re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", text))


@pytest.mark.parametrize("name", [*NAMES, *LINKS])
def test_a_cell_of_markdown_is_text(name: str) -> None:
    line = Table(("a", "b"), ((name, "2"),)).markdown().splitlines()
    assert len(line) == 3
    plain = re.sub(r"\\[!-/:-@\[-`{-~]", "", line[2])
    assert plain.count("|") == 3
    assert not set(plain) & set("$<\x1b\x9b*_`[]~\\")
    assert "://" not in plain
    assert "www." not in plain
    cell = as_shown(line[2].removeprefix("| ").removesuffix(" | 2 |"))
    assert cell == "; ".join(printable(part) for part in name.splitlines())


@pytest.mark.parametrize("name", ["P|Q", "a) [b](https://c.d", "two words", "é$", "a\nb"])
def test_a_path_that_becomes_a_link_leads_there_and_nowhere_else(name: str) -> None:
    cell = Table(("a",), ((name,),)).markdown(links=name.splitlines()).splitlines()[2][2:-2]
    for part, own in zip(cell.split("; "), name.splitlines(), strict=True):
        found = re.fullmatch(r"\[(.*)\]\(([^() <>]*)\)", part)
        assert found
        assert (as_shown(found[1]), unquote(found[2])) == (own, own)


@pytest.mark.parametrize("name", ["[a](b)", "P\n# other", "<img src=x>", "`P`", "$x$"])
def test_a_protocol_is_a_heading_and_no_more(name: str, tmp_path: Path) -> None:
    record = {"method": "[m](x)", "protocol": name, "ways": 5, "shots": 1, "tasks": 2, "seed": 0}
    path = tmp_path / "P" / "run" / "tests" / "5w1s.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(record))
    page = results_page(tmp_path)
    headings = [line for line in page.splitlines() if line.startswith("#")]
    assert [as_shown(line) for line in headings[1:]] == [
        f"## {printable(name)}",
        "## What the trainings took",
    ]
    assert "| \\[m\\](x); [P/run](P/run) |" in page


@pytest.mark.parametrize("name", ["a\u202eb", "\x1b[31m", "<b>", "a\x00b"])
def test_a_cell_of_html_is_text(name: str) -> None:
    page = Table(("a",), ((name,),)).html()
    assert f'<th scope="row">{html.escape(printable(name))}</th>' in page


@pytest.mark.parametrize("name", [*NAMES, "$", "$$", "$\\foo$"])
def test_a_label_of_a_picture_is_no_formula(name: str) -> None:
    figure = new_figure(1, 1)
    axes = figure.subplots()
    axes.set_title(name)
    axes.plot([0, 1], label=name)
    axes.legend()
    assert to_png(figure).startswith(b"\x89PNG")
    shown = [text for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text() == name]
    assert len(shown) == 2
    assert not any(text.get_parse_math() for text in shown)


@pytest.mark.parametrize("name", ["\x1b[2Jgone", "a\rb", "\x9b31m", "\x07", "two\nlines"])
def test_what_is_said_is_one_line_of_text(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    say(name)
    said = capsys.readouterr().err
    assert said.endswith("\n")
    assert said[:-1].isprintable()


@pytest.mark.parametrize("stream", [None, "closed", "full"])
def test_nothing_is_said_where_nobody_hears(stream: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        def write(self, text: str = "") -> int:
            raise ValueError("closed") if stream == "closed" else OSError("full")

        flush = write

    monkeypatch.setattr("sys.stderr", None if stream is None else Failing())
    say("nothing")
