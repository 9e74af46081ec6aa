"""Tasks to learn optimizers on: quadratics and digits."""

import os
from typing import Any

import pytest
import torch

from fphi.errors import DataError
from fphi.tasks import DigitTasks, QuadraticTasks, TaskDistribution, load_tasks


def test_quadratics_are_normal_and_the_loss_of_zero_is_their_size() -> None:
    """W and y of independent standard normal numbers, scaled by √n: E[(√n y)²] = n."""
    support, query = QuadraticTasks().batch("train", range(500))
    assert support.x.shape == (500, 10, 10)
    for values in (support.x, support.y):
        normal = values / 10**0.5
        error = normal.numel() ** -0.5
        assert abs(float(normal.mean())) < 4 * error
        assert abs(float(normal.square().mean()) - 1) < 4 * 2**0.5 * error
        assert abs(float(normal.pow(4).mean()) - 3) < 4 * 96**0.5 * error
    theta = torch.randn(10)
    w, y = support.x[0] / 10**0.5, support.y[0, :, 0] / 10**0.5
    expected = (w @ theta - y).square().sum()
    torch.testing.assert_close(
        torch.nn.functional.mse_loss(support.x[0] @ theta, support.y[0, :, 0]), expected
    )
    assert torch.equal(support.x, query.x)
    assert torch.equal(support.y, query.y)


@pytest.mark.parametrize("tasks", [QuadraticTasks(seed=3), DigitTasks(4, 3, 2, seed=3)])
def test_a_problem_is_a_function_of_its_number(tasks: TaskDistribution) -> None:
    together = tasks.batch("train", [5, 2, 9])
    alone = tasks.task("train", 2)
    assert torch.equal(together.support.x[1], alone.support.x)
    assert torch.equal(together.query.y[1], alone.query.y)
    for other in (tasks.task("test", 2), tasks.task("train", 3)):
        assert not torch.equal(other.support.x, alone.support.x)
    with pytest.raises(
        DataError, match="there is no split 'trials' here; there are: train, validation, test"
    ):
        tasks.batch("trials", [0])


def test_digits_have_their_classes_and_share_no_example() -> None:
    tasks = DigitTasks(ways=10, shots=4, queries=3)
    seen: dict[str, set[bytes]] = {}
    for split in tasks.splits:
        batch = tasks.batch(split, range(40))
        rows = [e.x.flatten(0, 1) for e in batch]
        seen[split] = {x.numpy().tobytes() for part in rows for x in part}
        for x, own in zip(batch.support.x, batch.query.x, strict=True):
            both = [e.numpy().tobytes() for e in torch.cat([x, own])]
            assert len(set(both)) == 70
    assert not seen["train"] & seen["test"]
    assert not seen["train"] & seen["validation"]
    assert not seen["validation"] & seen["test"]
    assert batch.support.y[0].tolist() == [label for label in range(10) for _ in range(4)]


def test_a_task_of_few_digits_draws_them_and_their_order() -> None:
    """Each class is one digit: its examples are nearer to that digit's mean than to those of the others."""
    from fphi.tasks.supervised import load_supervised

    data = load_supervised("digits")
    means = torch.stack([data.train.x[data.train.y == d].mean(0) for d in range(10)]).flatten(1)
    batch = DigitTasks(ways=3, shots=10).batch("train", range(60))
    near = torch.cdist(batch.support.x.flatten(2), means.expand(60, -1, -1)).argmin(2).reshape(60, 3, 10)
    drawn = near.mode(2).values
    assert float((near == drawn[..., None]).float().mean()) > 0.8
    assert len({tuple(d.tolist()) for d in drawn}) > 50
    counts = torch.bincount(drawn.flatten(), minlength=10)
    assert int(counts.min()) > 0


@pytest.mark.data
@pytest.mark.skipif(not os.environ.get("FPHI_DATA"), reason="FPHI_DATA is unset: no real data")
def test_mnist_is_drawn_as_the_small_digits_are() -> None:
    tasks = load_tasks("mnist", ways=10, shots=30, queries=5, seed=2)
    assert isinstance(tasks, DigitTasks)
    seen = {}
    for split in tasks.splits:
        task = tasks.task(split, 1)
        assert (task.support.x.shape, task.query.x.shape) == ((300, 1, 28, 28), (50, 1, 28, 28))
        rows = [x.numpy().tobytes() for part in task for x in part.x]
        seen[split] = set(rows)
        assert len(seen[split]) == len(rows)
        assert task.support.y.bincount().tolist() == [30] * 10
    assert not seen["train"] & seen["test"]
    assert not seen["train"] & seen["validation"]


def test_what_the_digits_cannot_give_is_refused() -> None:
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({"ways": 11}, "11 ways: there are 10 digits; ask for 2 to 10"),
        ({"shots": 30}, r"30 shots and 10 queries are 40 examples of a digit, and the split \w+ has \d+"),
    )
    for options, message in wrong:
        with pytest.raises(DataError, match=message):
            DigitTasks(**options)
    with pytest.raises(DataError, match="quadratics have no protocol, but 'P-MAML' was asked for"):
        load_tasks("quadratics", protocol="P-MAML")
    assert load_tasks("digits", ways=4, shots=2).task("train", 0).query.x.shape == (8, 1, 8, 8)
    assert load_tasks("quadratics").ways is None
