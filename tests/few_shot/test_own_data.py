"""The commands fit and predict, on folders, zips and tables as users have them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from few_shot_helpers import blobs, image_folder, sound_folder
from fphi.cli.main import main
from fphi.errors import FphiError
from fphi.few_shot.own_data import fit_data, predict_files
from fphi.few_shot.reading import read_data


def _table(path: Path, separator: str = ",", label: str = "class") -> Path:
    X, y = blobs()
    lines = [separator.join([*(f"{v:.3f}" for v in row), name]) for row, name in zip(X, y, strict=True)]
    path.write_text("\n".join([separator.join(["a", "b", "c", "d", label]), *lines]) + "\n")
    return path


def _sentences(path: Path) -> Path:
    places = ("Rome", "the bank", "my brother", "our school")
    rows = [f'"where is the way to {p}, please",way' for p in places]
    rows += [f"play a song about {p},song" for p in places]
    path.write_text("\n".join(["text,intent", *rows]) + "\n", encoding="utf-8")
    return path


def test_three_kinds_of_data_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image_folder(tmp_path / "images")
    sound_folder(tmp_path / "sounds")
    _table(tmp_path / "rows.csv")
    new = {
        "images": image_folder(tmp_path / "new images", each=2, seed=5),
        "sounds": sound_folder(tmp_path / "new sounds", each=2, seed=5),
        "rows.csv": _table(tmp_path / "new.csv"),
    }
    for name, questions in new.items():
        model = str(tmp_path / f"{name}.fphi")
        assert main(["fit", str(tmp_path / name), "--out", model, "--learner", "means"]) == 0
        assert "right on" in capsys.readouterr().out
        assert main(["predict", model, str(questions), "--json"]) == 0
        answers = json.loads(capsys.readouterr().out)
        right = [a["class"] in a["example"] for a in answers]
        if name != "rows.csv":
            assert len(answers) == 6
            assert np.mean(right) >= 5 / 6
        assert all(len(a["next"]) == 2 and 0 < a["probability"] <= 1 for a in answers)


def test_a_zip_with_train_and_test_is_learned_and_tested(tmp_path: Path) -> None:
    image_folder(tmp_path / "data" / "train")
    image_folder(tmp_path / "data" / "test", each=3, seed=4)
    zipped = shutil.make_archive(str(tmp_path / "data"), "zip", tmp_path / "data")
    fitted = fit_data(zipped, learner="means")
    assert fitted.tested is not None
    assert fitted.tested[1] == 9
    assert fitted.tested[0] > 0.8
    assert len(fitted.model.fitted_.labels) == 12
    answers = predict_files(fitted.model, [zipped])
    assert len(answers) == 21


def test_what_becomes_of_other_folders_is_said(tmp_path: Path) -> None:
    image_folder(tmp_path / "a" / "train")
    image_folder(tmp_path / "a" / "val", each=2, seed=8)
    assert len(read_data(tmp_path / "a").labels) == 18
    together = "all of train, validation is learned from, and nothing tested on"
    assert any(note.startswith(together) for note in read_data(tmp_path / "a").notes)
    image_folder(tmp_path / "a" / "test", each=1, classes=5, seed=4)
    data = read_data(tmp_path / "a")
    assert (len(data.labels), data.notes) == (
        12,
        ("neither learned from nor tested on: validation (6 files)",),
    )
    fitted = fit_data(tmp_path / "a", learner="means")
    assert fitted.tested is not None
    assert fitted.tested[1] == 3
    left = "2 of 5 test examples are left out, since their classes were not learned: 'kind 3', 'kind 4'"
    assert left in fitted.notes


def test_colour_is_kept_where_there_is_some_and_said(tmp_path: Path) -> None:
    coloured = fit_data(image_folder(tmp_path / "colour"), learner="means")
    assert any("in colour" in note for note in coloured.notes)
    for file in (tmp_path / "colour").rglob("*.png"):
        Image.open(file).convert("L").save(file)
    grey = fit_data(tmp_path / "colour", learner="means")
    assert any("in grey" in note for note in grey.notes)
    assert grey.model.fitted_.features.shape[1] < coloured.model.fitted_.features.shape[1]


@pytest.mark.parametrize(("separator", "ending"), [(",", "csv"), (";", "csv"), ("\t", "tsv")])
def test_tables_of_the_usual_forms_are_read(separator: str, ending: str, tmp_path: Path) -> None:
    data = read_data(_table(tmp_path / f"t.{ending}", separator))
    assert data.items.columns == ("a", "b", "c", "d")
    assert sorted(set(data.labels)) == ["class 0", "class 1", "class 2"]
    assert "labels are those of column 'class'" in data.notes


def test_a_table_of_texts_and_one_of_values(tmp_path: Path) -> None:
    fitted = fit_data(_sentences(tmp_path / "s.csv"), encoder="words")
    assert fitted.model.kind_ == "texts"
    (tmp_path / "new.txt").write_text("which way is the lake\nplay that old song\n")
    assert [a.label for a in predict_files(fitted.model, [tmp_path / "new.txt"])] == ["way", "song"]
    table = tmp_path / "values.csv"
    table.write_text("colour,size,label\n" + "red,1,x\nred,,x\nblue,3,y\nblue,4,y\nred,2,x\nblue,5,y\n")
    values = fit_data(table, learner="ridge")
    (tmp_path / "asked.csv").write_text("size,extra,colour\n1,9,red\n?,9,blue\n3,9,green\n")
    answers = predict_files(values.model, [tmp_path / "asked.csv"])
    assert [a.label for a in answers[:2]] == ["x", "y"]
    assert len(answers) == 3


@pytest.mark.parametrize(
    ("content", "arguments", "said"),
    [
        ("a,b\n1,x\n", ["--label", "c"], "0 columns 'c'"),
        ("a,b\n1,x,2\n", [], "3 cells in row 2"),
        ("a,b\n", [], "no rows"),
        ("b\nx\n", [], "one column"),
        ("a,b\n1,\n2,\n", [], "no row with a label"),
        ("a,b\n1,x\n2,x\n", [], "1 class"),
        ('a,b\n"1,x\n', [], "is no table"),
    ],
)
def test_a_table_that_teaches_nothing_is_refused_in_one_line(
    content: str, arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.csv").write_text(content)
    assert main(["fit", str(tmp_path / "t.csv"), "--out", str(tmp_path / "m"), *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "m").exists()


def test_what_a_model_cannot_answer_is_refused(tmp_path: Path) -> None:
    model = fit_data(_table(tmp_path / "t.csv"), learner="means").model
    image_folder(tmp_path / "images")
    for files, said in (
        ([], "name at least one"),
        ([tmp_path / "images"], "is no table"),
        ([tmp_path / "none.csv"], "cannot be read"),
        ([_sentences(tmp_path / "s.csv")], "0 columns 'a'"),
    ):
        with pytest.raises(FphiError, match=said):
            predict_files(model, files)
