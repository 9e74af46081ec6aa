"""What a file names is text: no column, no HTML, no formula, nothing that a terminal obeys."""

import pytest
from matplotlib.text import Text

from fphi.report.plots import new_figure, to_png
from fphi.report.tables import Table
from fphi.run.show.say import say

NAMES = ["a|b", "$\\frac{$", "<script>", "&lt;", "\x1b[2Jgone", "a\nb|c", "\x9b31m", "$x$|<b>"]


@pytest.mark.parametrize("name", NAMES)
def test_a_cell_of_markdown_is_text(name: str) -> None:
    line = Table(("a", "b"), ((name, "2"),)).markdown().splitlines()
    assert len(line) == 3
    plain = line[2].replace("\\|", "").replace("\\$", "")
    assert plain.count("|") == 3
    assert not set(plain) & set("$<\x1b\x9b")


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
