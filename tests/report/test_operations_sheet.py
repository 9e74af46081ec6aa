"""The sheet of operations."""

import io

import pytest
import torch
from PIL import Image

from fphi.errors import FphiError
from fphi.learnable.augmentation import operate
from fphi.report.augmentation import draw_operations


def colours(png: bytes) -> set[tuple[int, ...]]:
    with Image.open(io.BytesIO(png)) as image:
        return {colour for _, colour in image.convert("RGB").getcolors(1 << 24)}  # type: ignore[misc,union-attr]


@pytest.mark.parametrize("channels", [1, 3])
def test_the_sheet_shows_the_image_and_what_each_operation_makes_of_it(channels: int) -> None:
    """In an image of one colour, which few other things in the picture have."""
    colour = torch.tensor([0.2, 0.4, 0.8])[:channels, None, None]
    images = torch.stack([colour.expand(channels, 16, 16), torch.full((channels, 16, 16), 0.6)])
    shown = colours(draw_operations(images, fill=(26,)))
    chance = torch.tensor([[0.9, 0.6]])
    for name, level in (
        ("Identity", 0),
        ("Invert", 0),
        ("Solarize", 10),
        ("Brightness", 1),
        ("SamplePairing", 7),
    ):
        changed = operate(name, images[:1], torch.tensor([float(level)]), chance, others=images)
        red, green, blue = (255 * changed[0, :, 8, 8].expand(3)).tolist()
        assert any(max(abs(r - red), abs(g - green), abs(b - blue)) <= 1.5 for r, g, b in shown), name
    assert (26, 26, 26) in shown  # from outside


def test_other_magnitudes_and_scales_are_shown_and_nothing_is_refused() -> None:
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert draw_operations(images, [0.9]) != draw_operations(images, [0.9], scale="fast")
    for given, magnitudes in ((images, []), (images[:0], [1])):
        with pytest.raises(FphiError, match="to draw; give some of each"):
            draw_operations(given, magnitudes)
