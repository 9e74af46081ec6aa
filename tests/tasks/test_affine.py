"""Distorted copies: what the maps are, that training alone sees them, and what colour comes from outside."""

import itertools
import math

import numpy as np
import pytest
import torch
from PIL import Image

from fphi.errors import DataError
from fphi.tasks import ClassPool, EpisodeShape, FewShotTasks, SplitRule
from fphi.tasks.affine import NUMBERS_PER_BEND, NUMBERS_PER_MAP, affine_copies, affine_maps, reduced
from fphi.tasks.episodes import Distortion, draw_distortion, prepare
from tasks_helpers import labelled_pool

CHOICES: list[Distortion] = ["affine", "affine-twice", "affine-class", "elastic"]
NOTHING = 0.9  # at or above one half a part is left out


def numbers(part: int, *places: tuple[int, float]) -> torch.Tensor:
    """Numbers that do the part (turn, shear, scale, shift) alone, with these values at these places."""
    u = torch.full((1, NUMBERS_PER_MAP), NOTHING, dtype=torch.float64)
    u[:, 4:] = 0.5  # in the middle: by nothing
    u[0, part] = 0.0
    for place, value in places:
        u[0, place] = value
    return u


def test_each_part_alone_is_the_published_map() -> None:
    turn = affine_maps(numbers(0, (4, 1.0)))[0]
    c, s = math.cos(math.radians(10)), math.sin(math.radians(10))
    assert torch.allclose(turn, torch.tensor([[c, -s, 0], [s, c, 0]], dtype=torch.float64), atol=1e-12)
    shear = affine_maps(numbers(1, (5, 1.0), (6, 0.0)))[0]
    assert torch.allclose(shear, torch.tensor([[1, 0.3, 0], [-0.3, 1, 0]], dtype=torch.float64), atol=1e-12)
    scale = affine_maps(numbers(2, (7, 1.0), (8, 0.0)))[0]
    expected = torch.tensor([[1 / 1.2, 0, 0], [0, 1 / 0.8, 0]], dtype=torch.float64)
    assert torch.allclose(scale, expected, atol=1e-12)


def test_a_shift_moves_two_of_105_pixels() -> None:
    image = torch.rand(1, 1, 105, 105, dtype=torch.float64)
    moved = affine_copies(image, numbers(3, (9, 0.0), (10, 0.5)))
    assert torch.allclose(moved[..., 2:], image[..., :-2], atol=1e-9)
    assert moved[..., :2].abs().max() < 1e-9


def test_a_copy_distorted_twice_is_the_copy_of_a_copy() -> None:
    first, second = (torch.rand(4, NUMBERS_PER_MAP, dtype=torch.float64) for _ in range(2))
    places = torch.rand(4, 2, 7, dtype=torch.float64)

    def move(u: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        maps = affine_maps(u)
        return maps[:, :, :2] @ at + maps[:, :, 2:]

    twice = move(torch.cat([first, second], 1), places)
    assert torch.allclose(twice, move(first, move(second, places)), atol=1e-12)
    pool, shape = labelled_pool([9] * 6), EpisodeShape(5, 1, 1)
    kinds = [
        FewShotTasks({"train": pool}, {"train": SplitRule(shape, distortion=kind)}).batch("train", range(5))
        for kind in CHOICES
    ]
    for one, other in itertools.combinations(kinds, 2):
        assert not torch.equal(one.query.x, other.query.x)


def test_a_copy_of_nothing_done_is_the_image() -> None:
    image = torch.rand(3, 2, 9, 9, dtype=torch.float64)
    u = torch.full((3, NUMBERS_PER_MAP), NOTHING, dtype=torch.float64)
    assert torch.allclose(affine_copies(image, u), image, atol=1e-12)


@pytest.mark.parametrize("side", [14, 28, 56, 105])
def test_a_reduced_drawing_is_pillow_s_nearest_neighbour_distorted_or_not(side: int) -> None:
    drawing = np.random.default_rng(0).integers(0, 2, (105, 105), dtype=np.uint8) * np.uint8(255)
    expected = np.asarray(Image.fromarray(drawing).resize((side, side), Image.Resampling.NEAREST))
    pool = ClassPool.from_classes([drawing[None, None].repeat(2, 0)] * 2, names="ab", groups="gg")
    tasks = FewShotTasks({"test": pool}, {"test": SplitRule(EpisodeShape(2, 1, 1))}, image_size=side)
    assert torch.equal(tasks.task("test", 0).query.x[0, 0], torch.from_numpy(expected / np.float32(255)))
    same = torch.full((1, NUMBERS_PER_MAP), NOTHING)
    copy = affine_copies(torch.from_numpy(drawing / np.float32(255))[None, None], same, side)
    assert torch.equal(copy[0, 0], torch.from_numpy(expected / np.float32(255)))


def test_copies_of_two_values_have_two_values_and_the_asked_size() -> None:
    drawing = np.random.default_rng(1).integers(0, 2, (20, 1, 40, 40), dtype=np.uint8) * np.uint8(255)
    pool = ClassPool.from_classes(list(drawing.reshape(5, 4, 1, 40, 40)), names="abcde", groups="ggggg")
    rule = SplitRule(EpisodeShape(5, 1, 2), distortion="affine")
    tasks = FewShotTasks({"train": pool}, {"train": rule}, image_size=16)
    seen = tasks.batch("train", range(9)).query.x
    assert seen.shape == (9, 10, 1, 16, 16)
    assert np.unique(seen.numpy()).tolist() == [0, 1]


def test_the_mean_over_an_area_keeps_the_ink_of_a_drawing() -> None:
    drawing = np.random.default_rng(0).integers(0, 256, (2, 1, 105, 105), dtype=np.uint8)
    pool = ClassPool.from_classes([drawing, drawing], names="ab", groups="gg")
    rules = {"test": SplitRule(EpisodeShape(2, 1, 1))}
    for invert in (False, True):
        tasks = FewShotTasks({"test": pool}, rules, image_size=35, image_reduction="area", invert=invert)
        seen = tasks.task("test", 0).support.x[0, 0]
        image = drawing[tasks.draw("test", [0]).images[0, 0, 0], 0]
        mean = image.reshape(35, 3, 35, 3).astype(np.float64).mean((1, 3)) / 255
        expected = 1 - mean if invert else mean
        torch.testing.assert_close(seen, torch.from_numpy(expected).float())
    wrong = {"image_reduction": "mode"}
    with pytest.raises(DataError, match="image reduction 'mode' is none of nearest, area"):
        FewShotTasks({"test": pool}, rules, **wrong)  # type: ignore[arg-type]


def test_a_distorted_copy_in_grey_levels_is_the_mean_of_its_places() -> None:
    image = torch.rand(1, 1, 12, 12, dtype=torch.float64)
    same = torch.full((1, NUMBERS_PER_MAP), NOTHING, dtype=torch.float64)
    # Twice as fine as the copy of 6 pixels is the image itself.
    torch.testing.assert_close(
        affine_copies(image, same, 6, "area"), image.view(1, 1, 6, 2, 6, 2).mean((3, 5))
    )
    moved = affine_copies(image, numbers(1, (5, 1.0)), 6, "area")
    fine = torch.nn.functional.grid_sample(
        image,
        torch.nn.functional.affine_grid(
            affine_maps(numbers(1, (5, 1.0))), [1, 1, 12, 12], align_corners=False
        ),
        align_corners=False,
    )
    torch.testing.assert_close(moved, fine.view(1, 1, 6, 2, 6, 2).mean((3, 5)))


@pytest.mark.parametrize("side", [14, 28, 35, 53, 105])
def test_undistorted_copies_in_grey_levels_have_the_ink_of_the_reduced_drawing(side: int) -> None:
    drawing = torch.zeros(1, 1, 105, 105)
    drawing[..., 20:70, 30:34] = 1
    drawing[..., 50:53, 10:85] = 1
    moved = torch.cat([drawing.roll((s, s), (-2, -1)) for s in range(15)])
    same = torch.full((1, NUMBERS_PER_MAP), NOTHING).expand(15, -1)
    copies, small = affine_copies(moved, same, side, "area"), reduced(moved, side, "area")
    # All ink weighs the same; in copies, whose places are spread out, it does so over all positions.
    torch.testing.assert_close(small.mean((1, 2, 3)), moved.mean((1, 2, 3)))
    assert float(copies.mean()) == pytest.approx(float(small.mean()), rel=0.01)
    assert float((copies - small).abs().mean()) < 0.02


@pytest.mark.parametrize("kind", CHOICES)
def test_distorted_tasks_in_grey_levels_are_the_distorted_drawings(kind: Distortion) -> None:
    drawings = np.random.default_rng(2).integers(0, 256, (24, 1, 40, 40), dtype=np.uint8)
    pool = ClassPool.from_classes(list(drawings.reshape(6, 4, 1, 40, 40)), names="abcdef", groups="gggggg")
    rule = SplitRule(EpisodeShape(5, 1, 2), distortion=kind)
    tasks = FewShotTasks({"train": pool}, {"train": rule}, image_size=16, image_reduction="area")
    part = prepare("train", pool, rule, 0)
    maps, bends = (torch.from_numpy(u).float() for u in draw_distortion(part, np.arange(1)))
    images = tasks.draw("train", [0]).images[0, :, 0]
    bend = bends[0, :, 0] if kind == "elastic" else None
    x = torch.from_numpy(drawings[images]).float() / 255
    expected = affine_copies(x, maps[0, :, 0], 16, "area", bend)
    torch.testing.assert_close(tasks.task("train", 0).support.x, expected)


@pytest.mark.parametrize("kind", ["affine-class", "elastic"])
def test_a_class_is_distorted_as_one_before_each_of_its_images_is(kind: Distortion) -> None:
    pool, shape = labelled_pool([9] * 6), EpisodeShape(5, 2, 3)
    part = prepare("train", pool, SplitRule(shape, distortion=kind), 0)
    maps, bends = draw_distortion(part, np.arange(40))
    assert maps.shape == (40, 5, 5, 2 * NUMBERS_PER_MAP)
    assert bends.shape == (40, 5, 5, NUMBERS_PER_BEND if kind == "elastic" else 0)
    shared, own = maps[..., :NUMBERS_PER_MAP], maps[..., NUMBERS_PER_MAP:]
    assert (shared == shared[:, :, :1]).all()
    assert len(np.unique(shared[:, :, 0, 0])) == 40 * 5
    assert len(np.unique(own[..., 0])) == 40 * 5 * 5
    again = draw_distortion(part, np.arange(7, 8))
    assert (again.maps[0] == maps[7]).all()
    assert (again.bends[0] == bends[7]).all()
    assert [u.size for u in draw_distortion(prepare("train", pool, SplitRule(shape), 0), np.arange(40))] == [
        0,
        0,
    ]


def test_a_bent_image_moves_where_the_net_does_and_little_elsewhere() -> None:
    ramp = torch.arange(106, dtype=torch.float64).expand(1, 1, 106, 106)  # a pixel's value is its column
    same = torch.full((1, NUMBERS_PER_MAP), NOTHING, dtype=torch.float64)
    pulled = torch.full((1, NUMBERS_PER_BEND), 0.5, dtype=torch.float64)
    unbent = affine_copies(ramp, same, 53, "area")
    torch.testing.assert_close(affine_copies(ramp, same, 53, "area", pulled), unbent)
    pulled[0, 5] = 1.0  # along x, the second point of the second row, at a third of the image both ways
    moved = (affine_copies(ramp, same, 53, "area", pulled) - unbent)[0, 0]
    at = int(moved.abs().argmax())
    assert abs(at // 53 - 17.5) <= 1
    assert abs(at % 53 - 17.5) <= 1
    assert float(moved.flatten()[at]) == pytest.approx(2.5 * 106 / 105, rel=0.02)
    assert float(moved[35:, 35:].abs().max()) < 0.2


def test_images_are_not_enlarged() -> None:
    pools, rules = {"train": labelled_pool([9] * 6)}, {"train": SplitRule(EpisodeShape(5, 1, 1))}
    with pytest.raises(DataError, match=r"image size 5: these images have 4 pixels a side; ask for 1 to 4"):
        FewShotTasks(pools, rules, image_size=5)


@pytest.mark.parametrize("invert", [False, True])
def test_training_alone_sees_copies_and_a_seed_decides_them(invert: bool) -> None:
    full = np.full((7, 1, 12, 12), 255, np.uint8)  # all ink: what is not ink came from outside
    pool = ClassPool.from_classes([full] * 6, names="abcdef", groups="gggggg")
    pools, shape = {"train": pool, "test": pool}, EpisodeShape(5, 1, 2)

    def make(seed: int) -> FewShotTasks:
        rules = {"train": SplitRule(shape, distortion="affine"), "test": SplitRule(shape)}
        return FewShotTasks(pools, rules, seed=seed, invert=invert)

    tasks = make(0)
    ink, paper = (0.0, 1.0) if invert else (1.0, 0.0)
    assert (tasks.task("test", 3).query.x == ink).all()
    batch = tasks.batch("train", range(20))
    assert batch.query.x.min() >= -1e-6
    assert batch.query.x.max() <= 1 + 1e-6
    outside = (batch.query.x - paper).abs().flatten(2).amin(2) < 1e-6
    assert 0.2 < outside.float().mean() < 0.95  # some copies reach beyond the image, some do not
    again = make(0).batch("train", [7, 19])
    assert torch.equal(again.support.x[0], batch.support.x[7])
    assert torch.equal(again.query.x[1], batch.query.x[19])
    assert not torch.equal(make(1).batch("train", [7]).query.x[0], batch.query.x[7])


def test_copies_keep_the_class_and_differ_from_one_another() -> None:
    pool = labelled_pool([9] * 6)
    shape = EpisodeShape(5, 1, 1)
    plain = FewShotTasks({"train": pool}, {"train": SplitRule(shape)})
    copied = FewShotTasks({"train": pool}, {"train": SplitRule(shape, distortion="affine")})
    for before, after in zip(plain.batch("train", range(8)), copied.batch("train", range(8)), strict=True):
        assert torch.equal(before.y, after.y)
        assert not torch.equal(before.x, after.x)
