"""Pictures of embeddings and of curves."""

import io

import pytest
import torch
from PIL import Image
from torch import Tensor

from fphi.errors import FphiError
from fphi.report.embedding import draw_embedding
from fphi.report.plots import COLOURS
from fphi.report.regression import draw_regression
from fphi.tasks.types import Examples, Task


def colours(png: bytes) -> set[tuple[int, ...]]:
    with Image.open(io.BytesIO(png)) as image:
        assert image.width == 1024
        return {colour for _, colour in image.convert("RGB").getcolors(1 << 24)}  # type: ignore[misc,union-attr]


def embedded(images: Tensor, **names: list[str]) -> bytes:
    labels = torch.arange(len(images)) % 2
    points = torch.stack([torch.arange(len(images)), torch.arange(len(images)) % 3], dim=1).float()
    return draw_embedding(points, images, labels, [0.5, 0.25], **names)


TAB_BLUE = (31, 119, 180)


def test_line_drawings_are_ink_in_the_colour_of_the_class_and_photographs_stay_as_they_are() -> None:
    drawing = torch.zeros(4, 1, 28, 28)
    drawing[:, :, 8:20, 8:20] = 1
    for image in (drawing, 1 - drawing):  # white on black, and black on white
        shown = colours(embedded(image))
        assert TAB_BLUE in shown
        assert shown == colours(embedded(drawing))
    pink = torch.tensor([1.0, 0.5, 0.75])[:, None, None].expand(3, 32, 32)
    photographs = torch.stack([pink, pink, pink, torch.zeros(3, 32, 32)])
    shown = colours(embedded(photographs))
    assert any(abs(r - 255) + abs(g - 127) + abs(b - 191) <= 3 for r, g, b in shown)
    assert TAB_BLUE in shown  # its frame


def test_the_legend_has_the_names_whatever_they_are() -> None:
    images = torch.rand(4, 3, 40, 40)
    assert embedded(images, names=["dog", "$x_1$"]) != embedded(images)
    assert embedded(images, names=["class 0", "class 1"]) == embedded(images)


def wave(shots: int = 5, queries: int = 50) -> Task:
    support, query = (torch.linspace(-5, 5, n)[:, None] for n in (shots, queries))
    return Task(Examples(support, support.sin()), Examples(query, query.sin()))


def test_each_answer_to_a_curve_has_a_line_of_its_own() -> None:
    task = wave()
    alone = colours(draw_regression(task, torch.zeros(50, 1)))
    both = colours(draw_regression(task, {"before": torch.zeros(50, 1), "after": task.query.y + 1}))
    first, second = (tuple(bytes.fromhex(colour[1:])) for colour in COLOURS[:2])
    assert first in alone
    assert second not in alone
    assert {first, second} <= both


def test_what_is_no_curve_is_named() -> None:
    with pytest.raises(FphiError, match=r"learned has answers \[3, 1\] to queries \[50, 1\]"):
        draw_regression(wave(), torch.zeros(3, 1))
    plane = Task(*(Examples(part.x.expand(-1, 2), part.y) for part in wave()))
    with pytest.raises(FphiError, match=r"a curve needs x and y of \[n, 1\]"):
        draw_regression(plane, torch.zeros(50, 1))
