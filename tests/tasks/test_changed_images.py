"""What is done to the images of training tasks: of which tasks, and as a function of what."""

import pytest
import torch
from torch import Tensor

from fphi.learnable.augmentation import TrivialAugment
from fphi.learnable.augmentation.task_images import changing, fill_of_tasks
from fphi.tasks import FewShotTasks, Minibatches, load_tasks


def tasks(train: Minibatches | None = None) -> FewShotTasks:
    found = load_tasks("hershey", ways=3, shots=2, queries=1, train=train)
    assert isinstance(found, FewShotTasks)
    return found


def darker(images: Tensor, key: int) -> Tensor:
    return images / 2


@pytest.mark.parametrize("train", [None, Minibatches(size=8), Minibatches(size=8, views="affine")])
def test_images_of_training_tasks_are_changed_and_no_others(train: Minibatches | None) -> None:
    plain = tasks(train)
    changed = plain.with_training_images(darker)
    for split, factor in (("train", 2), ("validation", 1), ("test", 1)):
        one, other = plain.batch(split, [3, 5]), changed.batch(split, [3, 5])
        for half in range(2):
            assert torch.equal(one[half].x, factor * other[half].x)
            assert torch.equal(one[half].y, other[half].y)


def test_a_policy_changes_task_i_as_a_function_of_seed_and_i() -> None:
    changed = tasks().with_training_images(changing(TrivialAugment()))
    alone = changed.task("train", 7)
    torch.manual_seed(5)
    among = changed.batch("train", [2, 7])
    assert torch.equal(alone.support.x, among.support.x[1])
    assert torch.equal(alone.query.x, among.query.x[1])
    assert not torch.equal(changed.task("train", 2).support.x, tasks().task("train", 2).support.x)


def test_equal_images_of_a_task_are_changed_each_by_itself() -> None:
    change = changing(TrivialAugment())
    images = torch.rand(1, 1, 12, 12).expand(40, 1, 12, 12)
    changed = change(images, 11)
    assert len({tuple(image.flatten().tolist()) for image in changed}) > 20
    assert torch.equal(changed, change(images, 11))
    assert not torch.equal(changed, change(images, 13))


def test_the_fill_is_the_mean_colour() -> None:
    found = tasks()
    mean = 255 * float(found.batch("train", list(range(400))).support.x.mean())
    (level,) = fill_of_tasks(found)
    assert level == pytest.approx(mean, rel=0.1)
