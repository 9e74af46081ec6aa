"""Episodes: what they contain, that they depend on their number only, and what is refused."""

from dataclasses import replace
from math import sqrt
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fphi.errors import DataError
from fphi.tasks import ClassPool, EpisodeShape, ExampleOrder, FewShotTasks, Rotation, SplitRule, Task
from fphi.tasks.episodes import Distortion
from tasks_helpers import labelled_pool

SHAPE = EpisodeShape(ways=5, shots=2, queries=3)
ROTATIONS: list[Rotation] = ["none", "class", "episode", "classes"]


def make(
    pool: ClassPool,
    shape: EpisodeShape = SHAPE,
    rotation: Rotation = "none",
    seed: int = 0,
    order: ExampleOrder = "classes",
) -> FewShotTasks:
    return FewShotTasks({"train": pool}, {"train": SplitRule(shape, rotation, order)}, seed=seed)


def equal(a: Task, b: Task) -> bool:
    return all(torch.equal(p, q) for s, t in zip(a, b, strict=True) for p, q in zip(s, t, strict=True))


def shown(image: Any, turn: int) -> Any:
    return np.rot90(np.fliplr(image) if turn >= 4 else image, turn % 4)


def corner(x: torch.Tensor, column: int) -> torch.Tensor:
    return (x[..., 0, 0, column] * 255).round().long()


def test_shapes_types_and_order() -> None:
    support, query = make(labelled_pool([7] * 9)).batch("train", [3, 4])
    assert support.x.shape == (2, 10, 1, 4, 4)
    assert query.x.shape == (2, 15, 1, 4, 4)
    assert support.x.dtype == query.x.dtype == torch.float32
    assert support.y.tolist() == [[0, 0, 1, 1, 2, 2, 3, 3, 4, 4]] * 2
    assert query.y.dtype == torch.int64
    assert query.y.tolist() == [[0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]] * 2


def test_the_same_drawers_are_at_the_same_places_of_every_class() -> None:
    pools = {"train": labelled_pool([6] * 9)}
    shared = FewShotTasks(pools, {"train": SplitRule(SHAPE, same_drawers=True)})
    own = FewShotTasks(pools, {"train": SplitRule(SHAPE)})
    of_class = [tasks.draw("train", range(400)).images % 6 for tasks in (shared, own)]
    assert (of_class[0] == of_class[0][:, :1]).all()
    assert not (of_class[1] == of_class[1][:, :1]).all(axis=(1, 2)).any()
    drawers = of_class[0][:, 0]
    assert all(len(set(row)) == 5 for row in drawers.tolist())  # nobody drew both a shot and a query
    assert set(drawers.ravel().tolist()) == set(range(6))


def test_drawers_of_unequal_classes_are_refused() -> None:
    pools = {"train": labelled_pool([6, 7, 6, 6, 6])}
    with pytest.raises(DataError, match=r"'train' has classes of 6 to 7 images: tasks by the same drawers"):
        FewShotTasks(pools, {"train": SplitRule(SHAPE, same_drawers=True)})


DEVICES = ["cpu", "meta", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("order", "distortion"), [("stream", "none"), ("shuffled", "affine")])
def test_tasks_made_on_a_device_are_the_same(
    device: str, order: ExampleOrder, distortion: Distortion
) -> None:
    pool = labelled_pool([7] * 9)
    rules = {
        "train": SplitRule(SHAPE, "classes", order, distortion),
        "test": SplitRule(SHAPE, "episode", order),
    }
    tasks = FewShotTasks({"train": pool, "test": pool}, rules, image_size=3)
    moved = tasks.on(torch.device(device))
    for split in tasks.splits:
        made = moved.batch(split, [3, 8])
        assert all(tensor.device.type == device for part in made for tensor in part)
        if device != "meta":
            expected = tasks.batch(split, [3, 8])
            for part, other in zip(made, expected, strict=True):
                assert torch.equal(part.y.cpu(), other.y)
                torch.testing.assert_close(part.x.cpu(), other.x)


@pytest.mark.parametrize("how", ["backwards", "read-only"])
def test_images_of_any_array_are_taken(how: str) -> None:
    pool = labelled_pool([7] * 9)
    images = pool.images[:, :, ::-1] if how == "backwards" else pool.images.copy()
    images.flags.writeable = False
    made = make(replace(pool, images=images)).batch("train", [4])
    expected = make(replace(pool, images=images.copy())).batch("train", [4])
    assert equal(made, expected)


def test_one_label_is_one_class_in_support_and_query() -> None:
    support, query = make(labelled_pool([7] * 9)).batch("train", range(200))
    classes = corner(support.x, 0).view(200, 5, 2)
    assert (classes == classes[:, :, :1]).all()
    assert (corner(query.x, 0).view(200, 5, 3) == classes[:, :, :1]).all()
    assert all(len(set(row)) == 5 for row in classes[:, :, 0].tolist())


def test_support_and_query_share_no_image_in_ten_thousand_episodes() -> None:
    images = make(labelled_pool([5, 6, 20] * 3)).draw("train", range(10_000)).images
    ordered = np.sort(images.reshape(10_000, -1), axis=1)
    assert (np.diff(ordered, axis=1) > 0).all()


def contents(task: Task, part: int) -> list[list[tuple[int, int, int]]]:
    """Per task the sorted (class, image, label) of its support (0) or query set (1)."""
    examples = task[part]
    columns = (corner(examples.x, 0).tolist(), corner(examples.x, 1).tolist(), examples.y.tolist())
    return [sorted(zip(*row, strict=True)) for row in zip(*columns, strict=True)]


def test_a_shuffled_support_set_holds_the_same_examples_in_uniformly_random_order() -> None:
    pool = labelled_pool([7] * 9)
    plain, mixed = (make(pool, order=o).batch("train", range(2000)) for o in ("classes", "shuffled"))
    assert contents(plain, 0) == contents(mixed, 0)
    assert torch.equal(plain.query.x, mixed.query.x)
    means = mixed.support.y.double().mean(0)  # of 0..4, deviation 1.41: standard error 0.032
    assert (means - 2).abs().max() < 0.15


def test_a_stream_mixes_support_and_query() -> None:
    pool = labelled_pool([7] * 9)
    plain, stream = (make(pool, order=o).batch("train", range(200)) for o in ("classes", "stream"))
    assert [a + b for a, b in zip(contents(stream, 0), contents(stream, 1), strict=True)] != contents(
        plain, 0
    )
    for i in range(200):
        together = sorted(contents(stream, 0)[i] + contents(stream, 1)[i])
        assert together == sorted(contents(plain, 0)[i] + contents(plain, 1)[i])
    assert len({tuple(sorted(y)) for y in stream.query.y.tolist()}) > 20  # not balanced


def test_an_order_that_does_not_exist_is_refused() -> None:
    with pytest.raises(
        DataError, match="order 'mixed' of split 'train' is none of classes, shuffled, stream"
    ):
        make(labelled_pool([7] * 9), order="mixed")  # type: ignore[arg-type]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(0, 10**12), min_size=1, max_size=6),
    st.sampled_from(ROTATIONS),
    st.sampled_from(["classes", "shuffled", "stream"]),
)
def test_an_episode_depends_on_its_number_only(
    indices: list[int], rotation: Rotation, order: ExampleOrder
) -> None:
    tasks, again = (make(labelled_pool([5, 9] * 4), rotation=rotation, order=order) for _ in range(2))
    batch = tasks.batch("train", indices)
    for position, index in enumerate(indices):
        task = again.task("train", index)
        assert torch.equal(batch.support.x[position], task.support.x)
        assert torch.equal(batch.query.x[position], task.query.x)


def test_seeds_splits_and_numbers_give_different_episodes() -> None:
    pool = labelled_pool([20] * 200)
    tasks = FewShotTasks({"train": pool, "test": pool}, dict.fromkeys(("train", "test"), SplitRule(SHAPE)))
    first = tasks.task("train", 0)
    assert not equal(first, tasks.task("train", 1))
    assert not equal(first, tasks.task("test", 0))
    assert not equal(first, make(pool, seed=1).task("train", 0))


def test_every_class_takes_every_label_equally_often() -> None:
    episodes, classes, ways = 12_000, 8, 5
    drawn = make(labelled_pool([5] * classes)).draw("train", range(episodes)).classes
    counts = np.stack([np.bincount(drawn[:, way], minlength=classes) for way in range(ways)])
    expected = episodes / classes
    chi_square = ((counts - expected) ** 2 / expected).sum()
    # ways * (classes - 1) = 35 degrees of freedom at most: mean 35, standard deviation sqrt(70).
    assert chi_square < 35 + 5 * sqrt(70)
    ascending = (np.diff(drawn, axis=1) > 0).all(axis=1).mean()
    assert abs(ascending - 1 / 120) < 5 * sqrt(1 / 120 / episodes)


def test_every_image_of_ragged_classes_is_drawn_equally_often() -> None:
    sizes = [2, 3, 7]
    drawn = make(labelled_pool(sizes), EpisodeShape(3, 1, 1)).draw("train", range(20_000)).images
    counts = np.bincount(drawn.ravel(), minlength=12)
    expected = np.repeat([40_000 / size for size in sizes], sizes)
    assert np.abs(counts - expected).max() < 5 * sqrt(20_000)


@pytest.mark.parametrize("rotation", ["class", "episode"])
def test_rotation_is_numpys_quarter_turn(rotation: Rotation) -> None:
    tasks = make(labelled_pool([6] * 6), rotation=rotation)
    support, query = tasks.batch("train", range(50))
    drawn, pool = tasks.draw("train", range(50)), tasks.pool("train")
    for b, way in np.ndindex(50, 5):
        turned = [
            np.rot90(pool.images[i, 0], drawn.turns[b, way if rotation == "class" else 0])
            for i in drawn.images[b, way]
        ]
        seen = torch.cat([support.x[b, 2 * way : 2 * way + 2], query.x[b, 3 * way : 3 * way + 3]])
        assert np.array_equal((seen[:, 0] * 255).round().numpy(), np.stack(turned))


def test_mirror_images_are_classes_too_and_turn_as_numpy_s() -> None:
    pool = labelled_pool([6] * 3)
    tasks = make(pool, rotation="mirrored")
    eight = tasks.pool("train")
    assert len(eight) == 24
    assert eight.names[:8] == tuple(f"class0/{m}rot{90 * q:03d}" for m in ("", "mirror") for q in range(4))
    drawn, seen = tasks.draw("train", range(60)), tasks.batch("train", range(60)).support.x
    assert set(drawn.turns.flatten().tolist()) == set(range(8))
    for b, way in np.ndindex(drawn.turns.shape):
        image = pool.images[drawn.images[b, way, 0], 0]
        expected = shown(image, int(drawn.turns[b, way]))
        assert (seen[b, 2 * way, 0].numpy() == expected / np.float32(255)).all()


def test_rotations_of_rotations_and_of_mirror_images_are_the_eight_again() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 1, 5, 5), dtype=np.uint8)
    eight = ClassPool.from_classes([images], "a", "g").with_rotations(mirrored=True)
    again = eight.with_rotations(mirrored=True)
    for c, turn in enumerate(again.turns):
        twice = shown(shown(images[0, 0], int(eight.turns[c // 8])), c % 8)
        assert (twice == shown(images[0, 0], int(turn))).all()


def test_a_mirror_image_that_is_turned_stays_one() -> None:
    mirrored = labelled_pool([6] * 6).with_rotations(mirrored=True)
    tasks = make(mirrored, rotation="class")
    drawn = tasks.draw("train", range(50))
    assert (drawn.turns // 4 == mirrored.turns[drawn.classes] // 4).all()
    assert set(drawn.turns.flatten().tolist()) == set(range(8))
    with pytest.raises(DataError, match="classes of split 'train' are turned already; leave rotation"):
        make(mirrored, rotation="classes")


def test_given_tasks_fit_their_shape_and_are_not_turned() -> None:
    pool, shape = labelled_pool([6] * 6), EpisodeShape(5, 1, 2)
    given = FewShotTasks({"test": pool}, {"test": SplitRule(shape)}).draw("test", range(3))
    tasks = FewShotTasks({"test": pool}, {"test": SplitRule(shape, fixed=given)}, seed=9)
    assert tasks.count("test") == 3
    assert make(pool).count("train") is None
    assert (tasks.draw("test", [2]).images == given.images[2:]).all()
    for wrong in (SplitRule(SHAPE, fixed=given), SplitRule(shape, "class", fixed=given)):
        with pytest.raises(
            DataError, match=r"the given tasks of split 'test' have images \(5, 3\) and no rot"
        ):
            FewShotTasks({"test": pool}, {"test": wrong})


def test_rotations_are_per_class_or_per_episode() -> None:
    per_class = make(labelled_pool([6] * 6), rotation="class").draw("train", range(8000)).turns
    per_episode = make(labelled_pool([6] * 6), rotation="episode").draw("train", range(8000)).turns
    assert (per_episode == per_episode[:, :1]).all()
    assert per_episode.shape == per_class.shape == (8000, 5)
    for turns in (per_episode[:, 0], per_class[:, 0], per_class[:, 4]):
        assert np.abs(np.bincount(turns, minlength=4) - 2000).max() < 5 * sqrt(8000 * 3 / 16)
    pairs = np.bincount(4 * per_class[:, 0] + per_class[:, 1], minlength=16)
    assert np.abs(pairs - 500).max() < 5 * sqrt(500)


def test_rotations_as_classes_are_character_and_angle() -> None:
    pool = labelled_pool([6] * 3)
    tasks = make(pool, rotation="classes")
    turned = tasks.pool("train")
    assert len(turned) == 12
    assert turned.images is pool.images
    assert turned.names[5] == "class1/rot090"
    drawn = tasks.draw("train", range(300))
    assert (drawn.turns == drawn.classes % 4).all()
    assert (drawn.images[..., 0] // 6 == drawn.classes // 4).all()
    # Two rotations of one character may meet in an episode, as two classes.
    assert any(len(set(row)) < 5 for row in (drawn.classes // 4).tolist())


def test_pixels_run_from_paper_0_to_ink_1_or_inverted() -> None:
    images = np.zeros((2, 1, 2, 2), dtype=np.uint8)
    images[..., 0, 0], images[..., 0, 1] = 255, 51
    pool, shape = ClassPool.from_classes([images], ["a"], ["g"]), EpisodeShape(1, 1, 1)
    plain = make(pool, shape).task("train", 0).support.x
    inverse = (
        FewShotTasks({"train": pool}, {"train": SplitRule(shape)}, invert=True).task("train", 0).support.x
    )
    assert plain[0, 0].tolist() == torch.tensor([[1.0, 51 / 255], [0.0, 0.0]]).tolist()
    assert inverse[0, 0].tolist() == torch.tensor([[0.0, 204 / 255], [1.0, 1.0]]).tolist()
    assert pool.images.max() == 255


def test_within_group_takes_all_classes_from_one_group_that_is_large_enough() -> None:
    groups = ["a", "b", "a", "c", "b", "a", "b", "b", "a"]  # a: 4, b: 4, c: 1
    pool, shape = labelled_pool([3] * 9, groups), EpisodeShape(3, 1, 1)
    tasks = FewShotTasks({"train": pool}, {"train": SplitRule(shape, within_group=True)})
    drawn = tasks.draw("train", range(4000)).classes
    found = np.array(groups)[drawn]
    assert (found == found[:, :1]).all()
    assert abs((found[:, 0] == "a").mean() - 0.5) < 5 * sqrt(0.25 / 4000)
    assert set(found[:, 0].tolist()) == {"a", "b"}
    assert set(drawn.ravel().tolist()) == {0, 1, 2, 4, 5, 6, 7, 8}


def test_training_and_testing_may_have_different_shapes() -> None:
    pool = labelled_pool([10] * 30)
    rules = {"train": SplitRule(EpisodeShape(20, 1, 5)), "test": SplitRule(EpisodeShape(5, 1, 1))}
    tasks = FewShotTasks({"train": pool, "test": pool}, rules)
    assert tasks.splits == ("train", "test")
    assert tasks.batch("train", [0]).query.x.shape == (1, 100, 1, 4, 4)
    assert tasks.batch("test", [0]).query.x.shape == (1, 5, 1, 4, 4)


def test_too_few_classes() -> None:
    with pytest.raises(DataError, match="5 ways from split 'train': there are only 4 classes"):
        make(labelled_pool([9] * 4))
    with pytest.raises(DataError, match="its largest group has only 2 classes"):
        FewShotTasks(
            {"test": labelled_pool([9] * 6, list("aabbcc"))}, {"test": SplitRule(SHAPE, within_group=True)}
        )


def test_class_with_too_few_images_is_named() -> None:
    with pytest.raises(
        DataError, match=r"'class3' of split 'train' has 4 images, but 2 shots \+ 3 queries need 5"
    ):
        make(labelled_pool([5, 6, 7, 4, 9]))


def test_unknown_split_negative_index_unknown_rotation() -> None:
    tasks = make(labelled_pool([9] * 6))
    with pytest.raises(DataError, match="no split 'test' here; there are: train"):
        tasks.batch("test", [0])
    with pytest.raises(DataError, match="-1 is negative"):
        tasks.batch("train", [0, -1])
    with pytest.raises(DataError, match="rotation 'sideways'"):
        make(labelled_pool([9] * 6), rotation="sideways")  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(0, 1, 1), (5, 0, 1), (5, 1, -2)])
def test_empty_episode_is_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(DataError, match="needs at least 1"):
        EpisodeShape(*shape)


def test_oblong_images_are_not_rotated() -> None:
    pool = ClassPool.from_classes([np.zeros((3, 1, 2, 5), np.uint8)] * 2, "ab", "gg")
    with pytest.raises(DataError, match="2x5 pixels cannot be rotated"):
        make(pool, EpisodeShape(2, 1, 1), "class")
    assert make(pool, EpisodeShape(2, 1, 1)).task("train", 0).support.x.shape == (2, 1, 2, 5)


def test_subset_keeps_names_sizes_and_shares_images() -> None:
    pool = labelled_pool([2, 3, 4], list("xyz"))
    part = pool.subset([2, 0])
    assert (part.names, part.groups, part.sizes.tolist()) == (("class2", "class0"), ("z", "x"), [4, 2])
    assert part.images is pool.images
    assert part.counts == {"groups": 2, "classes": 2, "images": 6}


@pytest.mark.parametrize("damage", ["dtype", "length", "range"])
def test_an_inconsistent_pool_is_refused(damage: str) -> None:
    pool = labelled_pool([2, 3])
    images: Any = pool.images.astype(np.float32) if damage == "dtype" else pool.images
    names = pool.names[:1] if damage == "length" else pool.names
    sizes = pool.sizes + 1 if damage == "range" else pool.sizes
    with pytest.raises(ValueError, match=r"uint8|one start|beyond"):
        ClassPool(images, pool.starts, sizes, names, pool.groups, pool.turns)


def test_a_batch_of_no_tasks_is_empty() -> None:
    support, query = make(labelled_pool([6] * 6), rotation="class").batch("train", [])
    assert support.x.shape == (0, 10, 1, 4, 4)
    assert query.y.shape == (0, 15)
