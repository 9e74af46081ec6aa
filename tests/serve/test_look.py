"""A drawing becomes an image such as the learner was trained on; and the page's colours can be read."""

import re
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from asking import RESULTS
from browser import CIRCLE, LINE, Points, Watched, chromium
from cli_helpers import quietly
from fphi.serve.look import Look, look_of
from fphi.serve.web import page_file
from fphi.tasks.affine import reduced
from fphi.tasks.options import TaskOptions

OMNIGLOT = look_of(TaskOptions("omniglot"), (1, 28, 28))
HERSHEY = look_of(TaskOptions("hershey"), (1, 28, 28))
PHOTOS = look_of(TaskOptions("some/folder"), (3, 16, 16))


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    page: Path = tmp_path_factory.mktemp("page") / "page.html"
    quietly("export", RESULTS / "P-PROTO/prototypical", "--html", page)
    with chromium() as browser:
        watched = Watched(browser.new_context().new_page())
        watched.open(page.as_uri())
        yield watched


def of_strokes(seen: Watched, look: Look, *strokes: Points, light: bool = False) -> Tensor:
    """``[channels, size, size]``, 0 to 255."""
    drawing = {"strokes": [list(map(list, stroke)) for stroke in strokes], "picture": None}
    values = seen.page.evaluate(
        "([d, look, light]) => Array.from(fphi.toImage(d, look, light))", [drawing, asdict(look), light]
    )
    return torch.tensor(values).view(look.channels, look.size, look.size)


def of_picture(seen: Watched, look: Look, picture: Tensor) -> Tensor:
    """The same of a picture ``[height, width, 4]``."""
    height, width, _ = picture.shape
    values = seen.page.evaluate(
        """([data, width, height, look]) => Array.from(fphi.toImage(
            { strokes: [], picture: { width, height, data: Uint8ClampedArray.from(data) } }, look, false))""",
        [picture.flatten().tolist(), width, height, asdict(look)],
    )
    return torch.tensor(values).view(look.channels, look.size, look.size)


def box(image: Tensor) -> tuple[int, int, int, int]:
    """The first and last row and column of ink."""
    rows, columns = (image[0] > 0).nonzero().T
    return int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())


def test_drawings_are_scaled_and_centred_as_the_data_are(seen: Watched) -> None:
    image = of_strokes(seen, OMNIGLOT, CIRCLE)
    assert set(image.flatten().tolist()) == {0, 255}  # two values, as Omniglot's images have
    top, bottom, left, right = box(image)
    assert (top + bottom, left + right) == pytest.approx((27, 27), abs=1)
    assert bottom - top + 1 == pytest.approx(68 * 28 / 105, abs=1)  # Omniglot's mean
    small = [(0.1 + 0.5 * x, 0.5 + 0.5 * y) for x, y in CIRCLE]
    assert (of_strokes(seen, OMNIGLOT, small) != image).sum() <= 2  # but for rounding
    grey = of_strokes(seen, HERSHEY, CIRCLE)
    assert len(set(grey.flatten().tolist())) > 3
    assert box(grey)[1] - box(grey)[0] + 1 == pytest.approx(20, abs=1)  # the mean of the embedded characters


def test_no_line_falls_between_the_pixels_that_are_kept(seen: Watched) -> None:
    for slope in (0.0, 0.01, 0.3):
        for line in ([(0.2, 0.5), (0.8, 0.5 + slope)], [(0.5, 0.2), (0.5 + slope, 0.8)]):
            assert (of_strokes(seen, OMNIGLOT, line) > 0).sum() >= 15


def test_a_dot_is_not_blown_up(seen: Watched) -> None:
    assert 1 <= (of_strokes(seen, OMNIGLOT, [(0.9, 0.9)]) > 0).sum() <= 4


def test_the_protocol_turns_images_over(seen: Watched) -> None:
    for look in (OMNIGLOT, HERSHEY, PHOTOS):
        turned = of_strokes(seen, replace(look, invert=True), LINE)
        assert torch.equal(turned, 255 - of_strokes(seen, look, LINE))


def test_pads_of_pictures_are_whole_images(seen: Watched) -> None:
    image = of_strokes(seen, PHOTOS, [(0.1, 0.1), (0.1, 0.4)])
    assert image.shape == (3, 16, 16)
    assert (image[:, 8:] == 255).all()  # paper is white
    assert image[0, 3, 1] < 128
    assert torch.equal(of_strokes(seen, PHOTOS, [(0.1, 0.1), (0.1, 0.4)], light=True), 255 - image)


def test_pictures_are_reduced_to_the_mean_over_each_area(seen: Watched) -> None:
    picture = torch.randint(0, 256, (24, 40, 4))
    picture[..., 3] = 255
    expected = reduced(picture[..., :3].permute(2, 0, 1)[None].float(), 16, "area")[0]
    assert (of_picture(seen, PHOTOS, picture) - expected).abs().max() <= 0.51
    grey = (expected * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(0)
    assert (of_picture(seen, replace(PHOTOS, channels=1), picture) - grey).abs().max() <= 0.51
    picture[..., 3] = 0
    assert (of_picture(seen, PHOTOS, picture) == 255).all()  # what is transparent lies over white


def test_pictures_of_drawings_are_as_the_drawings(seen: Watched) -> None:
    """Dark on light or light on dark, wherever it is in the picture."""
    picture = torch.full((45, 60, 4), 240)
    picture[15:35, 25:27, :3] = picture[33:35, 25:40, :3] = 20  # an L
    strokes = [(0.3, 0.2), (0.3, 0.8), (0.75, 0.8)]
    drawn, image = of_strokes(seen, HERSHEY, strokes), of_picture(seen, HERSHEY, picture)
    assert torch.minimum(drawn, image).sum() / torch.maximum(drawn, image).sum() > 0.6
    image = of_picture(seen, OMNIGLOT, picture)
    assert box(image) == pytest.approx(box(of_strokes(seen, OMNIGLOT, strokes)), abs=1)
    picture[..., :3] = 255 - picture[..., :3]
    assert torch.equal(of_picture(seen, OMNIGLOT, picture), image)
    assert (of_picture(seen, OMNIGLOT, torch.full((9, 9, 4), 255)) == 0).all()  # nothing is on it


def test_simulated_drawers_draw_alike_and_not_the_same(seen: Watched) -> None:
    script = """(look) => {
        const random = fphi.random(5), character = [[0, 0, 100, 0, 100, 100], [50, 0, 50, 100]];
        return [0, 1].map(() => Array.from(fphi.toImage(fphi.simulate(character, random), look, false)));
    }"""
    first, second = (torch.tensor(v) for v in seen.page.evaluate(script, asdict(OMNIGLOT)))
    assert not torch.equal(first, second)
    assert seen.page.evaluate(script, asdict(OMNIGLOT))[1] == second.tolist()
    assert 0.04 < (first > 0).float().mean() < 0.16  # Omniglot's share of ink is 0.083
    assert seen.errors == []


def luminance(colour: str) -> float:
    """Of ``#rrggbb``, as WCAG 2 has it."""
    shares = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_texts_have_enough_contrast_in_light_and_dark() -> None:
    style = page_file("page.css").decode()
    blocks = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        colour = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))
        pairs = [(text, paper) for text in ("ink", "soft", "wrong") for paper in ("paper", "ground")]
        pairs += [("on-strong", "strong"), *((f"c{c}", "paper") for c in range(10))]
        for text, paper in pairs:
            low, high = sorted(luminance(colour[name]) for name in (text, paper))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (text, paper)
