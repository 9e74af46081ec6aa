"""Each operation is Pillow's, image by image, and the oracles of the papers hold."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from fphi.errors import FphiError
from fphi.learnable.augmentation import NAMES, OPERATIONS, SCALES, ScaleName, operate
from fphi.learnable.augmentation.geometry import MOVES, moved, moves
from pillow_operations import MODES, as_tensor, by_pillow, picture

SIZES = ((32, 32), (21, 28), (40, 3), (2, 2))
EVERY = pytest.mark.parametrize("operation", NAMES)
SCALE = pytest.mark.parametrize("scale", SCALES)
# Pillow cuts these off to whole grey levels, up and down: a level may be one apart. All others are equal.
ROUNDED = {"Color", "Contrast", "Brightness", "Sharpness", "AutoContrast"}
# What AutoAugment's scale means, by the definitions of its public code.
AUTOAUGMENT: dict[str, Callable[[float], float]] = {
    **dict.fromkeys(("ShearX", "ShearY"), lambda m: 0.3 * m / 10),
    **dict.fromkeys(("TranslateX", "TranslateY"), lambda m: m),
    "Rotate": lambda m: int(3 * m),
    "Solarize": lambda m: 256 - int(m * 256 / 10),
    "Posterize": lambda m: 4 - int(m * 4 / 10),
    **dict.fromkeys(("Color", "Contrast", "Brightness", "Sharpness"), lambda m: 0.1 + 1.8 * m / 10),
    "Cutout": lambda m: int(2 * m),
}
FAST: dict[str, Callable[[float], float]] = {
    **dict.fromkeys(("ShearX", "ShearY"), lambda u: -0.3 + 0.6 * u),
    **dict.fromkeys(("TranslateX", "TranslateY"), lambda u: -0.45 + 0.9 * u),
    "Rotate": lambda u: -30 + 60 * u,
    "Solarize": lambda u: 256 * u,
    "Posterize": lambda u: int(4 + 4 * u),
    **dict.fromkeys(("Color", "Contrast", "Brightness", "Sharpness"), lambda u: 0.1 + 1.8 * u),
}


def doubles(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def levels(images: Tensor) -> NDArray[np.int64]:
    """Grey levels of the first image, ``[H, W]`` or ``[H, W, 3]``."""
    found: NDArray[np.int64] = (255 * images[0]).round().permute(1, 2, 0).to(torch.int64).numpy()
    return found[..., 0] if found.shape[-1] == 1 else found


def one(
    operation: str, images: Tensor, magnitude: float, chance: tuple[float, float] = (0.7, 0.3), **how: Any
) -> Tensor:
    return operate(operation, images, doubles(magnitude), doubles(*chance)[None], **{"fill": (0,), **how})


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("operation", [name for name in NAMES if name != "SamplePairing"])
def test_every_level_is_what_pillow_gives(operation: str, size: tuple[int, int], mode: str) -> None:
    pixels, chances = picture(mode, size), ((0.7, 0.3), (0.2, 0.999))
    place = [(int(x * size[1]), int(y * size[0])) for x, y in chances]
    for magnitude in range(11):
        amount = AUTOAUGMENT[operation](magnitude) if operation in AUTOAUGMENT else 0
        for chance, at in zip(chances, place, strict=True):
            signed = -amount if operation in MOVES and chance[0] < 0.5 else amount
            expected = by_pillow(operation, pixels, signed, at).astype(np.int64)
            away = np.abs(levels(one(operation, as_tensor(pixels), magnitude, chance)) - expected)
            assert away.max() <= (operation in ROUNDED), (magnitude, chance)


@pytest.mark.parametrize("operation", sorted(set(FAST)))
@pytest.mark.parametrize("mode", MODES)
def test_the_scale_of_fast_autoaugment_is_what_pillow_gives(operation: str, mode: str) -> None:
    pixels = picture(mode, (24, 32), 1)
    for u in np.linspace(0, 1, 17):
        amount = FAST[operation](float(u))
        amount *= {"TranslateX": 32, "TranslateY": 24}.get(operation, 1)
        for chance in ((0.7, 0.3), (0.2, 0.3)):
            signed = -amount if operation in MOVES and chance[0] < 0.5 else amount
            expected = by_pillow(operation, pixels, signed).astype(np.int64)
            found = levels(one(operation, as_tensor(pixels), float(u), chance, scale="fast"))
            assert np.abs(found - expected).max() <= (operation in ROUNDED), (u, chance)


def test_long_images_and_far_shifts_are_reckoned_with_more_bits() -> None:
    pixels = np.arange(40_000, dtype=np.int64).reshape(1, -1) % 251
    images = as_tensor(pixels.astype(np.uint8))
    for amount in (9_000.0, -17_000.0, 39_999.0):
        chance = doubles(0.9 if amount > 0 else 0.1, 0)[None]
        matrices = moves([("TranslateX", slice(None))], doubles(abs(amount)), chance, (1, 40_000))
        found = moved(images, matrices, torch.full((1, 1, 1), 0.5))
        expected = np.roll(pixels, -int(amount), 1)[0]
        inside = (np.arange(40_000) + amount >= 0) & (np.arange(40_000) + amount < 40_000)
        assert np.array_equal(levels(found)[0][inside], expected[inside])
        assert len(set(levels(found)[0][~inside].tolist())) == 1


@EVERY
@SCALE
def test_the_neutral_magnitude_changes_nothing(operation: str, scale: ScaleName) -> None:
    neutral = SCALES[scale].amounts[operation].neutral if operation in SCALES[scale].amounts else None
    if neutral is None:
        assert operation in ("AutoContrast", "Equalize", "Invert", "Posterize")
        assert (operation == "Posterize") <= (scale == "autoaugment")
        return
    for mode in MODES:
        images = as_tensor(picture(mode, (32, 32)))
        others = 1 - images
        changed = one(operation, images, neutral, scale=scale, others=others)
        torch.testing.assert_close(changed, images, rtol=0, atol=1e-6 if scale == "wide" else 0)


def test_magnitudes_are_those_of_the_three_scales() -> None:
    side = (20, 32)

    def at(scale: ScaleName, operation: str, *magnitudes: float) -> list[float]:
        return SCALES[scale].at(operation, doubles(*magnitudes), side).tolist()

    assert at("autoaugment", "Solarize", 0, 5, 10) == [256, 128, 0]
    assert at("autoaugment", "Posterize", 0, 3, 10) == [4, 3, 0]
    assert at("autoaugment", "Cutout", 1, 10) == [2, 20]
    assert at("fast", "TranslateX", 0, 0.5) == pytest.approx([-0.45 * 32, 0])
    assert at("fast", "TranslateY", 0, 1) == pytest.approx([-9, 9])
    assert at("fast", "Solarize", 0, 1) == [0, 256]
    assert at("fast", "Cutout", 1) == pytest.approx([6.4])
    assert at("wide", "Rotate", 0, 1) == [0, 135]
    assert at("wide", "Posterize", 0, 1) == [8, 2]
    assert at("wide", "Brightness", 0, 1) == pytest.approx([0.01, 2])


def test_solarize_at_256_is_the_identity_and_at_0_invert() -> None:
    images = as_tensor(picture("RGB", (16, 16)))
    assert torch.equal(one("Solarize", images, 1, scale="fast"), images)
    assert torch.equal(one("Solarize", images, 0, scale="fast"), one("Invert", images, 0))
    assert torch.allclose(one("Invert", one("Invert", images, 0), 0), images, atol=1e-7)


@pytest.mark.parametrize("magnitude", range(1, 11))
def test_a_turn_and_its_opposite_restore_the_centre(magnitude: int) -> None:
    y, x = np.mgrid[:33, :33]
    blob = (255 * np.exp(-((x - 16) ** 2 + (y - 16) ** 2) / 60)).astype(np.uint8)
    images = as_tensor(blob)
    there = one("Rotate", images, magnitude, (0.7, 0))
    back = one("Rotate", there, magnitude, (0.2, 0))
    # Twice the nearest pixel is at most 1.5 pixels away, where the blob differs by less than 0.2.
    assert (back - images)[..., 10:23, 10:23].abs().max() < 0.2
    assert torch.equal(back[..., 16, 16], images[..., 16, 16])
    assert not torch.equal(there, images) or magnitude < 2


@EVERY
@SCALE
@pytest.mark.parametrize("mode", MODES)
def test_the_result_has_the_same_shape_and_range_and_the_given_are_as_they_were(
    operation: str, scale: ScaleName, mode: str
) -> None:
    images = torch.cat([as_tensor(picture(mode, (32, 20), seed)) for seed in range(5)])
    before = images.clone()
    magnitudes = torch.linspace(0, SCALES[scale].most, 5, dtype=torch.float64)
    changed = operate(operation, images, magnitudes, torch.rand(5, 2, dtype=torch.float64), scale=scale)
    assert changed.shape == images.shape
    assert changed.dtype == images.dtype
    assert 0 <= changed.min() <= changed.max() <= 1
    assert torch.equal(images, before)


@EVERY
@pytest.mark.parametrize("mode", MODES)
def test_an_image_of_a_batch_is_changed_as_by_itself_and_only_where_it_is_switched_on(
    operation: str, mode: str
) -> None:
    images = torch.cat([as_tensor(picture(mode, (12, 20), seed)) for seed in range(6)])
    draw = torch.Generator().manual_seed(0)
    magnitudes, chance = (
        10 * torch.rand(6, generator=draw).double(),
        torch.rand(6, 2, generator=draw).double(),
    )
    on = torch.tensor([True, False, True, True, False, True])
    changed = operate(operation, images, magnitudes, chance, on)
    for i in range(6):
        alone = operate(operation, images[i : i + 1], magnitudes[i : i + 1], chance[i : i + 1], others=images)
        assert torch.equal(changed[i], alone[0] if on[i] else images[i])


def test_sample_pairing_mixes_with_the_image_that_the_number_points_at() -> None:
    images = torch.rand(4, 3, 5, 5)
    paired = operate(
        "SamplePairing", images, doubles(10, 10, 5, 0), doubles(0.3, 0.99, 0, 0.5)[:, None].repeat(1, 2)
    )
    torch.testing.assert_close(paired[0], 0.6 * images[0] + 0.4 * images[1])
    torch.testing.assert_close(paired[1], 0.6 * images[1] + 0.4 * images[3])
    torch.testing.assert_close(paired[2], 0.8 * images[2] + 0.2 * images[0])
    assert torch.equal(paired[3], images[3])


def test_a_cutout_is_clipped_at_the_border_and_has_the_fill() -> None:
    images = torch.zeros(1, 3, 8, 10)
    cut = one(
        "Cutout", images, 3, (0.0, 0.999), fill=(51, 102, 255)
    )  # 6 pixels around column 0 of the last row
    expected = torch.zeros_like(images)
    expected[:, :, 4:, :3] = torch.tensor([0.2, 0.4, 1.0])[:, None, None]
    assert torch.equal(cut, expected)
    grey = one("Cutout", images[:, :1], 3, (0.0, 0.999), fill=(51, 102, 255))
    torch.testing.assert_close(grey[0, 0, 7, 0].item(), 0.2 * 0.299 + 0.4 * 0.587 + 0.114, rtol=0, atol=1e-6)


@pytest.mark.parametrize("operation", [name for name in NAMES if OPERATIONS[name].differentiable])
@SCALE
def test_the_derivative_by_the_magnitude(operation: str, scale: ScaleName) -> None:
    images = 0.25 + 0.5 * torch.rand(
        2, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    chance = doubles(0.7, 0.2)[:, None].repeat(1, 2)
    magnitudes = (SCALES[scale].most * doubles(0.45, 0.6)).requires_grad_()
    others = 1 - images

    def changed(m: Tensor, x: Tensor) -> Tensor:
        return operate(operation, x, m, chance, scale=scale, others=others)

    assert torch.autograd.gradcheck(changed, (magnitudes, images.requires_grad_()))
    (slope,) = torch.autograd.grad(changed(magnitudes, images).square().sum(), magnitudes)
    assert (slope != 0).all()


@pytest.mark.parametrize("operation", [name for name in NAMES if not OPERATIONS[name].differentiable])
def test_what_has_no_derivative_says_so(operation: str) -> None:
    """No derivative by the magnitude, and by the image that of the pixels as they were chosen."""
    images = torch.rand(1, 3, 20, 20, dtype=torch.float64, requires_grad=True)
    magnitudes = doubles(0.3).requires_grad_()
    changed = operate(operation, images, magnitudes, doubles(0.7, 0.2)[None], scale="fast")
    changed.square().sum().backward()  # type: ignore[no-untyped-call]
    assert magnitudes.grad is None
    assert images.grad is not None
    assert (images.grad != 0).any() == (operation not in ("Equalize", "Posterize"))


def test_halves_and_doubles_are_changed_too() -> None:
    for kind in (torch.float16, torch.bfloat16, torch.float64):
        images = torch.rand(3, 3, 8, 8).to(kind)
        for name in OPERATIONS:
            changed = operate(name, images, doubles(2, 3, 4), torch.rand(3, 2, dtype=torch.float64))
            assert changed.dtype == kind
            assert changed.isfinite().all()


@pytest.mark.parametrize("scale", ["autoaugment", "wide"])
@pytest.mark.parametrize("kind", [torch.float64, torch.float32])
def test_no_amount_is_one_less_by_rounding(scale: ScaleName, kind: torch.dtype) -> None:
    """The strengths of TrivialAugment, thirtieths of the largest magnitude."""
    known = SCALES[scale]
    magnitudes = torch.arange(31, dtype=kind) / 30 * known.most
    for name, amount in known.amounts.items():
        if amount.whole == "cut":
            expected = [amount.least + int(Fraction(amount.span) * k / 30) for k in range(31)]
            assert known.at(name, magnitudes, (32, 32)).tolist() == expected, name


def test_what_is_out_of_range_is_refused() -> None:
    images, m, c = torch.rand(2, 3, 4, 4), doubles(1, 1), torch.rand(2, 2)
    for wrong in ((images - 0.5) / 0.25, 255 * images, images * torch.nan):
        with pytest.raises(FphiError, match=r"not in 0 to 1, but from .*; augment them before normalising"):
            operate("Invert", wrong, m, c)
    for number in (50.0, -5.0, torch.nan):
        with pytest.raises(FphiError, match=f"a magnitude is {number:g}; it must be from 0 to 10"):
            operate("Rotate", images, doubles(1, number), c)
    with pytest.raises(FphiError, match=r"a magnitude is 1.5; it must be from 0 to 1"):
        operate("Rotate", images, doubles(1, 1.5), c, scale="fast")
    with pytest.raises(FphiError, match=r"a random number is .*; it must be from 0 to 1"):
        operate("Rotate", images, m, c - 1)
    for others in (torch.rand(2, 3, 5, 5), torch.rand(0, 3, 4, 4), torch.rand(2, 1, 4, 4), images.double()):
        with pytest.raises(FphiError, match=r"the other images are .*; give at least one, of the same kind"):
            operate("SamplePairing", images, m, c, others=others)
    with pytest.raises(FphiError, match="images: a ndarray was given; give a tensor"):
        operate("Invert", images.numpy(), m, c)  # type: ignore[arg-type]
    with pytest.raises(FphiError, match="the magnitudes: a list was given; give a tensor"):
        operate("Invert", images, [5, 5], c)  # type: ignore[arg-type]
    for kind in (torch.int64, torch.float32):
        changed = operate("Invert", images, m, c, torch.tensor([1, 0], dtype=kind))
        assert torch.equal(changed, torch.stack([1 - images[0], images[1]]))


def test_what_is_no_operation_is_refused() -> None:
    images, m, c = torch.rand(1, 3, 4, 4), doubles(1), doubles(0.1, 0.2)[None]
    with pytest.raises(FphiError, match="there is no operation 'Blur'; there are ShearX, "):
        operate("Blur", images, m, c)
    with pytest.raises(FphiError, match="scale is 'loud'; it must be one of autoaugment, fast, wide"):
        operate("Invert", images, m, c, scale="loud")  # type: ignore[arg-type]
    for wrong in (images[0], images[:, :2], (255 * images).byte()):
        with pytest.raises(FphiError, match=r"give floats in 0 to 1 of shape \[n, C, H, W\]"):
            operate("Invert", wrong, m, c)
    for fill in ((), (1, 2), (0, 0, 256), (float("nan"),)):
        with pytest.raises(FphiError, match=r"fill is .*; it must be one grey level or three, from 0 to 255"):
            operate("Rotate", images, m, c, fill=fill)
