"""Random tables: each a function of its number, with what a learner needs to have seen."""

import numpy as np
import pytest
import torch

import fphi
from fphi.errors import DataError, FphiError
from fphi.tasks import TableTasks
from fphi.tasks.hashing import normal, stream_key
from fphi.tasks.tables import BUCKET
from fphi.tasks.tables_draws import Draws
from fphi.tasks.tables_prior import draw_tables


def test_normal_numbers_have_the_moments_of_normal_ones_and_depend_on_their_address_alone() -> None:
    key = stream_key(0, "a")
    values = normal(key, np.arange(400), 501).astype(np.float64)
    for power, expected, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((values**power).mean() - expected) < 4 * (variance / values.size) ** 0.5
    assert abs(np.corrcoef(values[:, 0], values[:, 1])[0, 1]) < 0.2  # of one word
    assert (normal(key, np.array([7]), 5)[0] == values[7, :5].astype(np.float32)).all()


def test_a_table_is_a_function_of_its_number() -> None:
    tasks = TableTasks(seed=3)
    for split in ("train", "test"):
        together = tasks.batch(split, range(20, 52))
        for i in (20, 33, 51):
            alone = tasks.task(split, i)
            for side, own in zip(together, alone, strict=True):
                assert torch.equal(side.x[i - 20], own.x)
                assert torch.equal(side.y[i - 20], own.y)
    assert not torch.equal(TableTasks(seed=4).task("test", 20).query.x, tasks.task("test", 20).query.x)
    assert not torch.equal(tasks.task("validation", 20).query.x, tasks.task("test", 20).query.x)


def test_training_tables_are_alike_in_blocks_and_no_batch_is_of_two_sizes() -> None:
    tasks = TableTasks()
    sizes = [tasks.support_rows("train", [BUCKET * i, BUCKET * i + BUCKET - 1]) for i in range(200)]
    assert all(first == last for first, last in sizes)
    assert min(sizes)[0] >= 10
    assert max(sizes)[0] <= 320
    assert np.median([first for first, _ in sizes]) == pytest.approx((10 * 320) ** 0.5, rel=0.25)
    assert tasks.batch("train", range(BUCKET)).support.x.shape[1] == sizes[0][0]
    with pytest.raises(DataError, match=r"choose a meta-batch that divides 64"):
        tasks.batch("train", range(BUCKET + 1))
    assert tasks.batch("test", range(BUCKET - 3, BUCKET + 3)).support.x.shape == (6, 128, 32)


@pytest.mark.parametrize("ways", [2, 10])
def test_each_class_is_in_the_support_and_a_column_that_is_not_there_is_zero(ways: int) -> None:
    support, query = TableTasks(ways, columns=12).batch("train", range(BUCKET))
    seen = [set(y.tolist()) for y in support.y]
    assert all(set(asked.tolist()) <= known for asked, known in zip(query.y, seen, strict=True))
    assert all(known == set(range(len(known))) for known in seen)
    assert max(map(len, seen)) <= ways
    there = support.x.ne(0).any(1)
    assert torch.equal(there, there.cummin(1).values)  # the others are the last
    assert set(there.sum(1).tolist()) >= {2, 3, 12}
    assert torch.cat([support.x, query.x], 1).isfinite().all()


def test_class_numbers_say_nothing() -> None:
    """Of tables of two classes, either is the larger one in half of them."""
    _, y = draw_tables(Draws(0, "test", np.arange(400)), rows=60, columns=8, ways=2)
    both = y[(y.max(1) == 1)]
    larger = np.sign(both.mean(1) - 0.5)
    assert abs(larger.mean()) < 4 / len(larger) ** 0.5


def test_they_go_by_a_name() -> None:
    tasks = fphi.load_tasks("tables", ways=3, queries=7)
    assert isinstance(tasks, TableTasks)
    assert (tasks.ways, tasks.shots, tasks.queries) == (3, 42, 7)
    assert tasks.task("test", 0).query.x.shape == (7, 32)
    with pytest.raises(DataError, match="tables have no protocol"):
        fphi.load_tasks("tables", protocol="alphabet")
    with pytest.raises(FphiError, match="ways is 11; it must be at most 10"):
        fphi.load_tasks("tables", ways=11)
    with pytest.raises(DataError, match="there is no split 'trials'"):
        tasks.batch("trials", [0])
