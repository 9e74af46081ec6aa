"""Plots and the HTML page."""

import csv
import io
import os
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.nn.functional import one_hot

from fphi.errors import FphiError
from fphi.report.files import StepRecord, write_test
from fphi.report.page import Block, Code, Picture, Section, render_page, write_report
from fphi.report.plots import Episode, accuracy_by_step, draw_episode, learning_curve, moving_average
from fphi.report.runs import read_run, report_runs
from fphi.report.tables import Table
from fphi.run.disk.files import write_text
from fphi.tasks.types import Examples, Task

VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """Collects the elements of a page and fails on a tag that closes another one."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.open += [] if tag in VOID else [tag]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def size(png: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(png)) as image:
        image.load()
        return image.size


def episode(ways: int = 3, shots: int = 2, queries: int = 2, channels: int = 1) -> Episode:
    """An episode whose answers are all right."""
    y = torch.arange(ways)
    support = Examples(torch.rand(ways * shots, channels, 8, 8), y.repeat_interleave(shots))
    query = Examples(torch.rand(ways * queries, channels, 8, 8), y.repeat_interleave(queries))
    return Episode(Task(support, query), one_hot(query.y, ways).float())


def test_moving_average_of_a_line_is_the_line_inside() -> None:
    values = [float(i) for i in range(20)]
    assert moving_average(values, 5)[2:-2].tolist() == pytest.approx(values[2:-2])
    assert moving_average(values, 1).tolist() == values


@pytest.mark.parametrize("measured", ["validation_accuracy", "validation_loss"])
def test_learning_curve_skips_empty_cells(measured: str) -> None:
    rows = [{"step": str(i), "train_loss": str(1 / (i + 1)), measured: ""} for i in range(50)]
    rows[49][measured] = "0.9"
    assert size(learning_curve({"maml": rows, "fomaml": rows})) == (1024, 896)


def test_accuracy_by_step_leaves_out_methods_without_steps() -> None:
    records: list[StepRecord] = [{"step": i, "accuracy": 0.2 + 0.2 * i, "loss": 1.0} for i in range(4)]
    alone = accuracy_by_step({"maml": records}, chance=0.2)
    assert size(alone) == (1024, 608)
    assert accuracy_by_step({"maml": records, "prototypical": []}, chance=0.2) == alone


def test_right_answers_carry_no_mark_of_a_wrong_one() -> None:
    right = episode()
    assert {answer.symbol for answer in right.answers} == {"✓"}
    assert right.summary == "6 of 6 query images answered correctly"


def test_a_wrong_answer_is_marked_and_put_in_words() -> None:
    right = episode()
    predictions = right.predictions.clone()
    predictions[3] = torch.tensor([0.0, 0.0, 1.0])  # the second query image of class 1
    wrong = Episode(right.task, predictions, names=("cat", "dog", "ox"))
    assert [answer.symbol for answer in wrong.answers] == ["✓", "✓", "✓", "✗", "✓", "✓"]
    assert wrong.summary == "5 of 6 query images answered correctly; dog taken for ox"


def test_drawing_has_120_pixels_per_image_and_grows_with_the_classes() -> None:
    width, height = size(draw_episode(episode(ways=3)))
    assert size(draw_episode(episode(ways=5))) == (width, height + 2 * 168)
    assert size(draw_episode(episode(shots=4))) == (width + 2 * 120, height)
    assert size(draw_episode(episode(queries=9), max_queries=2)) == (width, height)


def test_colour_images_and_hostile_names_can_be_drawn() -> None:
    colour = episode(ways=3, channels=3)
    named = Episode(colour.task, colour.predictions, names=("$x_1$", "鼠", "_" * 99))
    assert size(draw_episode(named)) == size(draw_episode(colour))
    assert named.name(2) == "_" * 13 + "…"


def test_what_cannot_be_drawn_is_named() -> None:
    right = episode()
    with pytest.raises(FphiError, match="6 query images need predictions"):
        Episode(right.task, right.predictions[:2])
    flat = Task(*(Examples(part.x.flatten(1), part.y) for part in right.task))
    with pytest.raises(FphiError, match="needs images"):
        Episode(flat, right.predictions)


def test_every_text_of_the_page_is_escaped() -> None:
    evil = '<script>alert("&")</script>'
    blocks: list[Block] = [evil, Code(evil), Table((evil,), ((evil,),)), Picture(b"", evil, evil)]
    page = Page(render_page(evil, evil, [Section(evil, blocks)]))
    assert page.all("script") == []
    assert page.all("img")[0]["alt"] == evil
    assert page.text.count(evil) == 9  # title, h1, intro, h2, p, code, th, td as row head, caption


def test_a_failed_write_leaves_the_old_page_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.html"
    write_report(path, "old", "", [])
    old = path.read_text()

    def full_disk(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(FphiError, match="no space left"):
        write_report(path, "new", "", [])
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    assert path.read_text() == old


def save_run(folder: Path, method: str, right: list[float], seed: int = 1) -> Path:
    mean = sum(right) / len(right)
    result = {
        **{"method": method, "protocol": "P-MAML", "ways": 5, "shots": 1, "tasks": len(right), "seed": seed},
        "accuracy": {"transductive": {"mean": mean, "ci95": 0.1}, "inductive": {"mean": mean, "ci95": 0.1}},
        "by_step": [{"step": 0, "accuracy": 0.2, "loss": 1.6}, {"step": 1, "accuracy": mean, "loss": 0.3}],
        **{"command": f"fphi train {method} && echo", "versions": {"torch": "2.13.0"}},
        "budget": {"meta_steps": 600},
    }
    run = folder / f"{method}-{seed}"
    write_test(run, "5w1s", result, {"inductive": torch.tensor(right)})
    write_text(run / "config.yaml", "inner_lr: 0.4\n")
    with (run / "log.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [["step", "train_loss", "validation_accuracy"], [1, 1.6, ""], [2, 1.2, 0.5]]
        )
    return run


def test_the_report_needs_nothing_outside_itself(tmp_path: Path) -> None:
    runs = [save_run(tmp_path, "maml", [1, 1, 0, 1]), save_run(tmp_path, "fomaml", [1, 0, 0, 1])]
    report_runs(tmp_path / "report.html", [read_run(run) for run in runs], {"maml": episode()})
    page = Page((tmp_path / "report.html").read_text())
    assert len(page.all("h1")) == 1
    assert len(page.all("img")) == 3  # learning curves, inner steps, the episode
    assert all(image["alt"] for image in page.all("img"))
    loads = [a.get("src") or a.get("href") or "data:" for _, a in page.elements]
    assert all(address.startswith("data:") for address in loads)
    assert page.all("script") == []


def test_the_report_holds_the_numbers_and_how_to_repeat_them(tmp_path: Path) -> None:
    runs = [save_run(tmp_path, "maml", [1, 1, 0, 1]), save_run(tmp_path, "fomaml", [1, 0, 0, 1])]
    report_runs(tmp_path / "report.html", [read_run(run) for run in runs])
    text = Page((tmp_path / "report.html").read_text()).text
    for expected in (
        "75.00 ± 10.00",
        "98.7 ± 0.4 (−23.70)",
        "fphi train fomaml && echo",
        "inner_lr: 0.4",
        "2.13.0",
    ):
        assert expected in text
    assert "−25.00 ± 49.00" in text  # differences 0, -1, 0, 0: std 0.5, so 1.96 * 0.5 / 2


def test_runs_on_different_tasks_are_not_compared(tmp_path: Path) -> None:
    runs = [save_run(tmp_path, "maml", [1, 1]), save_run(tmp_path, "maml", [1, 0], seed=2)]
    report_runs(tmp_path / "report.html", [read_run(run) for run in runs])
    text = Page((tmp_path / "report.html").read_text()).text
    assert "subtracted task by task" not in text
    assert "maml-1" in text  # two runs of one method go by the names of their folders


def test_a_folder_that_was_not_evaluated_is_named(tmp_path: Path) -> None:
    with pytest.raises(FphiError, match="no tests of the parameters that it has; evaluate the run first"):
        read_run(tmp_path)
    with pytest.raises(FphiError, match="at least one run"):
        report_runs(tmp_path / "report.html", [])
