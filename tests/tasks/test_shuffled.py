"""Tasks whose examples come in random order."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from fphi.tasks import Examples, Task, TaskDistribution, load_tasks, shuffled
from fphi.tasks.episodes import ExampleOrder, TrainingTasks


class ByClass(TaskDistribution):
    """Three classes, class by class; an example is its label and its place."""

    protocol, splits, notes = "by class", ("train", "test"), ("a note",)

    def batch(self, split: str, indices: Sequence[int]) -> Task:
        def examples(each: int) -> Examples:
            y = torch.arange(3).repeat_interleave(each).repeat(len(indices), 1)
            place = torch.arange(3 * each).repeat(len(indices), 1)
            return Examples(torch.stack([y, place], 2).float(), y)

        return Task(examples(4), examples(2))


def places(x: Tensor) -> list[list[int]]:
    return x[..., 1].long().tolist()


@pytest.mark.parametrize("split", ["train", "test"])
def test_examples_keep_their_labels_and_each_task_has_its_own_order(split: str) -> None:
    task = shuffled(ByClass(), "shuffled").batch(split, range(6))
    assert torch.equal(task.support.x[..., 0].long(), task.support.y)
    orders = places(task.support.x)
    assert all(sorted(order) == list(range(12)) for order in orders)
    assert len({tuple(order) for order in orders}) == 6
    assert places(task.query.x) == [list(range(6))] * 6


def test_a_stream_is_shuffled_as_a_whole_in_training_alone() -> None:
    tasks = shuffled(ByClass(), "stream")
    train, test = tasks.batch("train", range(6)), tasks.batch("test", range(6))
    whole = Examples(*(torch.cat(both, 1) for both in zip(*train, strict=True)))
    assert torch.equal(whole.x[..., 0].long(), whole.y)
    unshuffled = ByClass().batch("train", [0])
    rows = [tuple(row) for part in unshuffled for row in part.x[0].tolist()]
    assert sorted(map(tuple, whole.x[0].tolist())) == sorted(rows)
    assert len({tuple(y) for y in train.query.y.tolist()}) > 1
    assert test.query.y.tolist() == [[0, 0, 1, 1, 2, 2]] * 6


def test_a_task_depends_on_seed_split_and_number_alone() -> None:
    tasks = shuffled(ByClass(), "stream", seed=3)
    many, one = tasks.batch("train", [0, 5, 2]), tasks.task("train", 2)
    assert torch.equal(many.support.x[2], one.support.x)
    assert not torch.equal(shuffled(ByClass(), "stream", seed=4).task("train", 2).support.x, one.support.x)
    assert (tasks.protocol, tasks.splits, tasks.notes) == ("by class", ("train", "test"), ("a note",))
    assert (tasks.ways, tasks.shots) == (3, 4)
    assert torch.equal(tasks.on(torch.device("cpu")).task("train", 2).support.x, one.support.x)


@pytest.mark.parametrize("order", ["shuffled", "stream"])
def test_tasks_of_images_come_as_if_they_had_been_made_in_this_order(order: ExampleOrder) -> None:
    named = load_tasks("hershey", ways=3, shots=2, train=TrainingTasks(order=order))
    given = shuffled(load_tasks("hershey", ways=3, shots=2), order)
    for split in ("train", "test"):
        for a, b in zip(named.batch(split, [4, 1]), given.batch(split, [4, 1]), strict=True):
            assert torch.equal(a.x, b.x)
            assert torch.equal(a.y, b.y)


def test_what_has_no_classes_or_asks_for_no_order_stays_as_it_is() -> None:
    waves, tasks = load_tasks("sine"), ByClass()
    assert shuffled(waves, "stream") is waves
    assert shuffled(tasks, "classes") is tasks


def test_tasks_of_digits_and_fonts_come_in_the_order_that_a_method_asks_for() -> None:
    for name in ("digits", "fonts"):
        read = load_tasks(name, ways=3, shots=2, train=TrainingTasks(order="stream")).batch("train", range(5))
        assert len({tuple(y) for y in torch.cat([read.support.y, read.query.y], 1).tolist()}) == 5
