"""Tables as programs write them: with the numbers of their rows, decimal commas, Excel's first line."""

from pathlib import Path

import pytest

import fphi
from few_shot_helpers import blobs
from fphi.errors import FphiError
from fphi.few_shot.own_data import fit_data, predict_files
from fphi.few_shot.reading import Data, read_data

_TEXTS = (
    "play a song",
    "sing me a tune",
    "more music please",
    "where is Rome",
    "which way home",
    "a map of it",
)
_INTENTS = ("song",) * 3 + ("way",) * 3


def _write(path: Path, head: str, *rows: str) -> Path:
    path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return path


def _read(path: Path, head: str, *rows: str) -> Data:
    return read_data(_write(path, head, *rows))


@pytest.mark.parametrize(
    ("name", "first"), [("", 0), ("Unnamed: 0", 7), ("Unnamed: 0.1", 7), ("id", 0), ("nr", 1)]
)
def test_texts_are_learned_from_and_not_the_numbers_of_their_rows(
    name: str, first: int, tmp_path: Path
) -> None:
    rows = [f"{first + i},{t},{label}" for i, (t, label) in enumerate(zip(_TEXTS, _INTENTS, strict=True))]
    fitted = fit_data(_write(tmp_path / "t.csv", f"{name},text,label", *rows), encoder="words")
    assert (fitted.model.kind_, fitted.model.source_.columns) == ("texts", ("text",))
    assert any(note.startswith("left out, since it") and repr(name) in note for note in fitted.notes)
    asked = _write(tmp_path / "asked.csv", "n,text", "9,which way is it", "4,play music")
    assert [a.label for a in predict_files(fitted.model, [asked])] == ["way", "song"]


def test_one_column_of_texts_among_others_is_found_and_of_two_none(tmp_path: Path) -> None:
    rows = [f"2024-01-0{9 - i},{t},{'ab'[i % 2]},{_INTENTS[i]}" for i, t in enumerate(_TEXTS)]
    data = _read(tmp_path / "t.csv", "day,text,who,label", *rows)
    assert (data.items.kind, data.items.values) == ("texts", list(_TEXTS))
    assert data.notes[-1] == "texts are those of column 'text'; left out beside it: column 'day', 'who'"
    spaceless = [f"{9 - i},这部电影第{i}次很好看,{'ab'[i % 2]}" for i in range(6)]
    assert _read(tmp_path / "c.csv", "votes,text,label", *spaceless).source.text == "text"
    named = [f"{t},{i % 3},{i / 4},{_INTENTS[i]}" for i, t in enumerate(_TEXTS)]
    table = _read(tmp_path / "n.csv", "name,rooms,size,label", *named)
    assert (table.source.text, table.source.columns) == (None, ("name", "rooms", "size"))
    assert table.notes[-1] == "of texts, which --text COLUMN learns from alone: column 'name'"
    with pytest.raises(FphiError, match=r"2 columns of texts, 'title', 'body'; name .* --text 'title'"):
        _read(tmp_path / "two.csv", "title,body,label", *(f"a {t},{t},{t[0]}" for t in _TEXTS))
    with pytest.raises(FphiError, match="the column of the labels"):
        read_data(tmp_path / "t.csv", text="label")


def test_a_column_that_counts_is_learned_from_where_it_is_alone(tmp_path: Path) -> None:
    data = _read(tmp_path / "t.csv", "x,label", "1,a", "2,a", "3,b", "4,b")
    assert data.source.columns == ("x",)
    assert "column 'x' counts the rows, and there is no other to learn from" in data.notes
    with pytest.raises(FphiError, match="nothing to learn from"):
        _read(tmp_path / "u.csv", ",label", "0,a", "1,b")


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_decimal_commas_are_read_in_fit_and_predict(separator: str, tmp_path: Path) -> None:
    X, y = blobs()
    lines = [
        separator.join([*(f"{v:.3f}".replace(".", ",") for v in row), name])
        for row, name in zip(X, y, strict=True)
    ]
    path = _write(tmp_path / "t.csv", separator.join(["a", "b", "c", "d", "label"]), *lines)
    fitted = fit_data(path, learner="means")
    assert "a comma is before the decimals in column 'a', 'b', 'c', 'd'" in fitted.notes
    assert fitted.model.fitted_.features[0].tolist() == pytest.approx(X[0].round(3))
    asked = _write(tmp_path / "one.csv", separator.join("abcd"), separator.join(["1,5", "2", "0.5", "-3,25"]))
    answered = predict_files(fitted.model, [asked])[0]
    pointed = _write(tmp_path / "p.csv", "a,b,c,d", "1.5,2,0.5,-3.25")
    assert answered.probability == predict_files(fitted.model, [pointed])[0].probability


def test_commas_that_may_be_of_thousands_are_no_decimals(tmp_path: Path) -> None:
    mixed = _read(tmp_path / "t.csv", "a;b;label", "1,234;1,5;x", "999;2;y", "12,500;NA;x")
    assert mixed.items.values.tolist() == [["1,234", "1.5"], ["999", "2"], ["12,500", "NA"]]
    label = _read(tmp_path / "l.csv", "a;label", "1,25;1,5", "2,5;2,5")
    assert label.labels == ["1,5", "2,5"]
    assert label.items.values.tolist() == [["1.25"], ["2.5"]]


@pytest.mark.parametrize(
    "text",
    [
        'sep=;\n"a, b";c;label\n1;2;x\n3;4;y\n',
        '"sep=;"\n"a, b";c;label\n1;2;x\n3;4;y\n',
        '"a, b";c;label\n1;2;x\n3;4;y\n',
        '\n\n"a, b";c;label\n\n1;2;x\n3;4;y\n',
        'sep=\t\n"a, b"\tc\tlabel\n1\t2\tx\n3\t4\ty\n',
        '\ufeff"a, b"|c|label\n1|2|x\n3|4|y\n',
    ],
)
def test_what_separates_is_what_parts_all_rows_alike(text: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    data = read_data(tmp_path / "t.csv")
    assert data.items.columns == ("a, b", "c")
    assert data.items.values.tolist() == [["1", "2"], ["3", "4"]]


def test_a_table_of_which_nothing_is_left_is_refused_by_name(tmp_path: Path) -> None:
    path = _write(tmp_path / "t.csv", "a,b,label", *(f"{i}k,{i}m,{'xy'[i % 2]}" for i in range(6)))
    with pytest.raises(FphiError, match=r"column a, b holds no numbers.* --text"):
        fit_data(path)


def test_answers_have_the_numbers_of_their_rows_and_the_path(tmp_path: Path) -> None:
    X, y = blobs()
    lines = [",".join([*(f"{v:.3f}" for v in row), name]) for row, name in zip(X, y, strict=True)]
    model = fit_data(_write(tmp_path / "t.csv", "a,b,c,d,label", *lines), learner="means").model
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        _write(tmp_path / folder / "q.csv", "a,b,c,d", "1,2,3,4", ",,,", "", "5,6,7,8")
    files = [tmp_path / "x" / "q.csv", tmp_path / "y" / "q.csv"]
    names = [f"{file}:{number}" for file in files for number in (1, 2, 4)]
    assert [a.name for a in predict_files(model, files)] == names


def test_answers_to_lines_have_their_numbers(tmp_path: Path) -> None:
    table = _write(tmp_path / "t.csv", "text,label", *map(",".join, zip(_TEXTS, _INTENTS, strict=True)))
    model = fit_data(table, encoder="words").model
    asked = tmp_path / "q.txt"
    asked.write_text("play\n\n  \na song\u2028 please\n", encoding="utf-8")
    assert [a.name for a in predict_files(model, [asked])] == [f"{asked}:1", f"{asked}:4"]
    _write(tmp_path / "q.csv", "text", "play", '""', "map")
    assert [a.label for a in predict_files(model, [tmp_path / "q.csv"])][::2] == ["song", "way"]


def test_a_cell_may_be_long(tmp_path: Path) -> None:
    long = "song " * 40_000
    data = _read(tmp_path / "t.csv", "text,label", f"{long},a", "way home,b")
    assert data.items.values[0] == long


def test_a_model_of_arrays_answers_all_columns_of_a_table(tmp_path: Path) -> None:
    X, y = blobs()
    model = fphi.FewShotClassifier("means").fit(X, y)
    model.save(tmp_path / "m.fphi")
    model = fphi.FewShotClassifier.load(tmp_path / "m.fphi")
    lines = [",".join(f"{v:.17g}" for v in row) for row in X]
    answers = predict_files(model, [_write(tmp_path / "q.csv", "p,q,r,s", *lines)])
    assert [a.label for a in answers] == model.predict(X).tolist()
    with pytest.raises(
        FphiError, match=r"2 columns, and .* rows of 4 numbers or values, .* table of 4 columns"
    ):
        predict_files(model, [_write(tmp_path / "two.csv", "p,q", "1,2")])


def test_a_model_of_a_list_of_texts_answers_the_only_column(tmp_path: Path) -> None:
    model = fphi.FewShotClassifier("means", encoder="words").fit(list(_TEXTS), list(_INTENTS))
    asked = _write(tmp_path / "q.csv", "said", "play music", "the way home")
    assert [a.label for a in predict_files(model, [asked])] == ["song", "way"]
    with pytest.raises(FphiError, match=r"2 columns, and .* texts, without names; give a table of 1 column"):
        predict_files(model, [_write(tmp_path / "two.csv", "said,by", "play music,me")])
