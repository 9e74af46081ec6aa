"""Letters in fonts: tasks are domains, of the same classes."""

from pathlib import Path
from typing import Any

import pytest
import torch

import fphi
from fphi.errors import DataError, FphiError
from fphi.tasks import FontTasks
from fphi.tasks.fonts import FONTS, load_letters


def test_all_fonts_have_the_letters_and_no_font_is_in_two_splits() -> None:
    fonts = [font for of_split in FONTS.values() for font in of_split]
    assert len(set(fonts)) == len(fonts) == 18
    pool = load_letters()
    assert pool.counts == {"groups": 18, "classes": 18 * 26, "images": 18 * 26 * 20}
    assert pool.names[:2] == ("futural/A", "futural/B")
    assert [pool.groups[26 * place] for place in range(18)] == fonts
    assert int(pool.images.reshape(len(pool.images), -1).max(1).min()) > 100  # there is ink on each


@pytest.mark.parametrize("split", FONTS)
def test_a_task_is_one_font_and_label_c_its_letter_c(split: str) -> None:
    tasks = FontTasks(ways=4, shots=2, queries=3)
    pool = load_letters()
    for index in range(5):
        names = tasks.class_names(split, index)
        font = names[0].split("/")[0]
        assert font in FONTS[split]
        assert names == tuple(f"{font}/{letter}" for letter in "ABCD")
        support, query = tasks.task(split, index)
        assert support.y.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
        assert query.y.tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
        shown = set()
        for x, y in (*zip(*support, strict=True), *zip(*query, strict=True)):
            letter = pool.names.index(names[int(y)])
            drawn = pool.images[pool.starts[letter] : pool.starts[letter] + 20]
            (found,) = [i for i, image in enumerate(drawn) if torch.equal(torch.from_numpy(image) / 255, x)]
            shown.add((int(y), found))
        assert len(shown) == 4 * 5  # no drawing twice


def test_every_font_of_a_split_comes_up_and_a_task_is_a_function_of_its_number() -> None:
    tasks = FontTasks(ways=2)
    seen = {tasks.class_names("train", i)[0].split("/")[0] for i in range(100)}
    assert seen == set(FONTS["train"])
    fonts = tasks.fonts("train", range(100))
    assert set(fonts) == seen
    assert all(tasks.class_names("train", i)[0] == f"{fonts[i]}/A" for i in range(100))
    with pytest.raises(DataError, match="there is no split 'tests' here; there are: train, validation, test"):
        tasks.fonts("tests", [0])
    one, other = tasks.batch("test", [7]), tasks.batch("test", [3, 7])
    assert torch.equal(one.query.x[0], other.query.x[1])
    assert not torch.equal(FontTasks(ways=2, seed=1).batch("test", [3, 7]).query.x, other.query.x)


def test_they_go_by_a_name() -> None:
    tasks = fphi.load_tasks("fonts", ways=3, shots=2)
    assert isinstance(tasks, FontTasks)
    assert (tasks.ways, tasks.shots, tasks.queries, tasks.splits) == (
        3,
        2,
        2,
        ("train", "validation", "test"),
    )
    with pytest.raises(DataError, match="fonts have no protocol"):
        fphi.load_tasks("fonts", protocol="alphabet")


def test_one_network_may_tell_the_letters_of_all_fonts_apart(tmp_path: Path) -> None:
    """Their labels are the same in all tasks; but no image is there in two views."""
    assert FontTasks(ways=3).pooled_classes == 3
    short: dict[str, Any] = {"tasks": "fonts", "ways": 3, "steps": 1, "validation_tasks": 1, "network": "mlp"}
    fphi.train("multi-task", out=tmp_path / "pooled", **short)
    learner = fphi.load(tmp_path / "pooled")
    assert learner.get_parameter("pretext.classifier.weight").shape[0] == 3
    with pytest.raises(FphiError, match="simclr needs two views of each image, which these tasks do not"):
        fphi.train("simclr", out=tmp_path / "views", **short)


def test_what_there_is_not_is_refused() -> None:
    with pytest.raises(FphiError, match="ways is 27; it must be at most 26"):
        FontTasks(ways=27)
    with pytest.raises(DataError, match="15 shots and 10 queries are 25 examples of a letter"):
        FontTasks(shots=15)
    with pytest.raises(DataError, match="there is no split 'trials'"):
        FontTasks().batch("trials", [0])
