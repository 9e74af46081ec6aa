"""Minibatches in place of episodes: each image once a pass, labels of all classes, and two views."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from fphi.errors import DataError
from fphi.tasks import (
    ClassPool,
    Distortion,
    EpisodeShape,
    FewShotTasks,
    Minibatches,
    PooledTasks,
    Rotation,
    SplitRule,
    Task,
    TrainingTasks,
    load_tasks,
    pooled,
)
from fphi.tasks.affine import NUMBERS_PER_MAP, affine_copies
from fphi.tasks.hashing import stream_key, uniform
from fphi.tasks.turns import turned
from tasks_helpers import labelled_pool

SIZES = [3, 5, 2, 4]  # images of the training classes: unequal, 14 in all


def make(
    minibatches: TrainingTasks,
    rotation: Rotation = "none",
    distortion: Distortion = "none",
    pool: ClassPool | None = None,
    seed: int = 0,
) -> FewShotTasks:
    train = labelled_pool(SIZES) if pool is None else pool
    rules = {
        "train": SplitRule(EpisodeShape(1, 1, 1), rotation, distortion=distortion),
        "test": SplitRule(EpisodeShape(2, 1, 1)),
    }
    made = FewShotTasks({"train": train, "test": labelled_pool([4, 4, 4])}, rules, seed=seed)
    return pooled(made, minibatches)


def equal(a: Task, b: Task) -> bool:
    return all(torch.equal(p, q) for s, t in zip(a, b, strict=True) for p, q in zip(s, t, strict=True))


def everything(task: Task) -> tuple[Tensor, Tensor]:
    """Images and labels of support and query together."""
    return torch.cat([task.support.x, task.query.x]), torch.cat([task.support.y, task.query.y])


def test_training_classes_make_tasks_as_at_test() -> None:
    made = make(Minibatches(size=7), rotation="mirrored", distortion="affine", pool=labelled_pool([4] * 5))
    tasks = made.as_at_test("train")
    assert (tasks.splits, tasks.shape("train")) == (("train",), made.shape("test"))
    assert not tasks.pool("train").turns.any()
    pool, drawn = labelled_pool([4] * 5), tasks.draw("train", [3])
    images = torch.from_numpy(pool.images[drawn.images[0, :, 0]]).float() / 255
    assert torch.equal(tasks.task("train", 3).support.x, images)
    assert type(made.task("train", 0)) is Task
    assert made.task("train", 0).support.y.shape == (3,)


def test_a_pass_holds_each_image_once_with_the_number_of_its_class() -> None:
    """The pools' images say in their corner which class and which image they are."""
    tasks, pool = make(Minibatches(size=7)), labelled_pool(SIZES)
    assert tasks.pooled_classes == 4
    for first in (0, 2, 10):  # two minibatches of 7 are a pass over 14 images
        halves = [everything(tasks.task("train", i)) for i in (first, first + 1)]
        x, y = (torch.cat(parts) for parts in zip(*halves, strict=True))
        shown = (x * 255).round().to(torch.uint8).numpy()
        seen = []
        for image, label in zip(shown, y.tolist(), strict=True):
            (place,) = np.flatnonzero((pool.images == image).reshape(len(pool.images), -1).all(1))
            start = pool.starts[label]
            assert start <= place < start + pool.sizes[label]
            seen.append(int(place))
        assert sorted(seen) == list(range(14))


def test_passes_have_orders_of_their_own_and_a_minibatch_may_lie_across_two() -> None:
    tasks = make(Minibatches(size=4))
    places = tasks.draw("train", range(7)).images.reshape(2, 14)  # 7 minibatches of 4 are two passes
    assert [sorted(each) for each in places.tolist()] == [list(range(14))] * 2
    assert (places[0] != places[1]).any()
    assert not np.array_equal(places, make(Minibatches(size=4), seed=1).draw("train", range(7)).images)


def test_a_minibatch_depends_on_its_number_alone() -> None:
    tasks = make(Minibatches(size=6, views="elastic"), "class", "affine")
    together = tasks.batch("train", [9, 2, 30])
    for place, index in enumerate((9, 2, 30)):
        alone = make(Minibatches(size=6, views="elastic"), "class", "affine").task("train", index)
        assert equal(alone, tasks.task("train", index))
        assert torch.equal(alone.support.x, together.support.x[place])
        assert torch.equal(alone.query.x, together.query.x[place])


def test_the_halves_are_support_and_query_and_other_splits_are_as_before() -> None:
    tasks = make(Minibatches(size=7))
    support, query = tasks.batch("train", [0, 1])
    assert support.x.shape == (2, 3, 1, 4, 4)
    assert query.x.shape == (2, 4, 1, 4, 4)
    assert support.y.dtype == query.y.dtype == torch.int64
    before = make(TrainingTasks())
    assert not isinstance(before, PooledTasks)
    assert before.pooled_classes is None
    assert equal(tasks.batch("test", [0, 5]), before.batch("test", [0, 5]))
    assert (tasks.ways, tasks.shots) == (2, 1)
    assert len(tasks.class_names("train", 0)) == 4
    assert tasks.class_names("test", 3) == before.class_names("test", 3)


@pytest.mark.parametrize(("rotation", "each"), [("none", 1), ("class", 4), ("episode", 4), ("classes", 4), ("mirrored", 8)])  # fmt: skip
def test_turned_classes_are_classes_of_their_own(rotation: Rotation, each: int) -> None:
    pool = labelled_pool(SIZES)
    tasks = make(Minibatches(size=14), rotation)
    assert tasks.pooled_classes == 4 * each
    x, y = everything(tasks.task("train", 3))
    for image, label in zip(x, y.tolist(), strict=True):
        start, turn = pool.starts[label // each], label % each
        of_class = torch.from_numpy(pool.images[start : start + pool.sizes[label // each]]) / 255
        assert any(torch.equal(turned(original, turn), image) for original in of_class)


@pytest.mark.parametrize("rotation", ["none", "class", "classes", "mirrored"])
def test_untouched_images_are_as_they_are(rotation: Rotation) -> None:
    pool = labelled_pool(SIZES)
    x, _ = everything(make(Minibatches(size=14, turned=False), rotation).task("train", 1))
    originals = {image.tobytes() for image in pool.images}
    assert {image.numpy().tobytes() for image in (x * 255).round().to(torch.uint8)} <= originals


def test_classes_that_are_turned_already_are_not_turned_into_others() -> None:
    """Two turns of a class among the classes, and a third by the protocol: labels would clash."""
    pool = labelled_pool(SIZES).with_rotations()
    assert make(Minibatches(), "class", pool=pool).pooled_classes == 16


def test_views_are_two_copies_of_the_same_images_each_distorted_by_itself() -> None:
    plain = make(Minibatches(size=14)).task("train", 0)
    x, y = everything(plain)
    undistorted = make(Minibatches(size=14, views="none"), distortion="elastic").task("train", 0)
    for view in undistorted:
        assert torch.equal(view.x, x)
        assert torch.equal(view.y, y)
    images = load_tasks("hershey", train=Minibatches(size=20, views="affine-twice"))
    original, _ = everything(load_tasks("hershey", train=Minibatches(size=20)).task("train", 7))
    numbers = uniform(stream_key(0, "train", "distortion"), np.array([7]), 20 * 2 * 2 * NUMBERS_PER_MAP)
    u = torch.from_numpy(numbers).float().view(20, 2, -1)
    for copy, view in enumerate(images.task("train", 7)):
        assert torch.equal(view.x, affine_copies(original, u[:, copy]))
        assert (view.x != original).flatten(1).any(1).float().mean() > 0.8


def test_a_protocol_s_distortion_is_that_of_minibatches_too() -> None:
    plain = load_tasks("hershey", train=Minibatches(size=10)).task("train", 0)
    distorted = load_tasks("hershey", train=Minibatches(size=10), train_distortion="elastic").task("train", 0)
    assert torch.equal(plain.query.y, distorted.query.y)
    assert (plain.query.x != distorted.query.x).flatten(1).any(1).all()


def test_a_minibatch_is_never_larger_than_the_data() -> None:
    tasks = make(Minibatches(size=100))
    assert sorted(everything(tasks.task("train", 0))[1].tolist()) == sorted(np.repeat(range(4), SIZES))
    assert tasks.notes[-1] == "minibatches have 14 images instead of 100, all there are"
    one = labelled_pool([2]).drawings(0, 1)
    rules = {"train": SplitRule(EpisodeShape(1, 1, 1))}
    tasks = FewShotTasks({"train": labelled_pool([2])}, rules)
    tasks._splits["train"] = replace(tasks._splits["train"], pool=one)
    with pytest.raises(DataError, match="there are 1 training images, and a minibatch needs 2"):
        PooledTasks(tasks, Minibatches())


def test_without_a_training_split_there_is_nothing_to_pool() -> None:
    tasks = load_tasks("hershey", splits=["test"], train=Minibatches())
    assert not isinstance(tasks, PooledTasks)
    assert tasks.pooled_classes is None


def test_they_move_to_a_device_as_others_do() -> None:
    tasks = make(Minibatches(size=6))
    assert equal(tasks.on(torch.device("cpu")).batch("train", [1]), tasks.batch("train", [1]))
