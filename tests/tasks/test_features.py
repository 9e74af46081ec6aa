"""Tasks over vectors: what any distribution of tasks must keep to."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import fphi
from fphi.errors import DataError
from fphi.tasks.features import FeatureTasks


def _data(classes: range, each: int = 9) -> tuple[NDArray[np.float32], list[str]]:
    """Examples that name their class and their number."""
    x = np.array([[k, i, 0.5] for k in classes for i in range(each)], dtype=np.float32)
    return x, [f"class {k}" for k in classes for _ in range(each)]


def _numbered(kind: type) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Classes by number, in numbers or texts of this type."""
    return np.zeros((54, 3), np.float32), np.repeat(np.arange(6), 9).astype(kind)


def _tasks(**options: Any) -> FeatureTasks:
    splits = {"train": _data(range(8)), "validation": _data(range(8, 14)), "test": _data(range(14, 20))}
    return FeatureTasks(splits, **({"ways": 5, "shots": 2, "queries": 3} | options))


def test_a_task_has_classes_of_its_split_and_shares_no_example() -> None:
    tasks = _tasks()
    batch = tasks.batch("test", range(50))
    assert batch.support.x.shape == (50, 10, 3)
    assert batch.query.x.shape == (50, 15, 3)
    for i in range(50):
        support, query = ({tuple(row) for row in part.x[i].tolist()} for part in batch)
        assert len(support) == 10
        assert len(query) == 15
        assert not support & query
        names = tasks.class_names("test", i)
        for part in batch:
            assert [f"class {int(k)}" for k in part.x[i][:, 0]] == [names[y] for y in part.y[i]]
    assert set(batch.support.x[..., 0].flatten().tolist()) == set(map(float, range(14, 20)))


def test_task_i_is_a_function_of_seed_split_and_i() -> None:
    tasks = _tasks()
    alone, among = tasks.task("train", 7), tasks.batch("train", [3, 7, 1])
    assert torch.equal(alone.support.x, among.support.x[1])
    assert torch.equal(alone.query.x, among.query.x[1])
    assert not torch.equal(alone.support.x, _tasks(seed=1).task("train", 7).support.x)


@pytest.mark.parametrize("made", [np.asarray, torch.from_numpy])
def test_what_becomes_of_the_caller_s_examples_changes_no_task(made: Any) -> None:
    x, y = _data(range(6))
    tasks = FeatureTasks({"train": (made(x), y)}, 5, 2, 3)
    before = tasks.task("train", 0).support.x.clone()
    x += 1
    assert torch.equal(tasks.task("train", 0).support.x, before)


def test_every_example_of_a_class_is_drawn_alike() -> None:
    drawn = _tasks().batch("train", range(2000)).support.x
    counts = torch.bincount((drawn[..., 0] * 9 + drawn[..., 1]).flatten().long(), minlength=72).double()
    assert float(((counts - counts.mean()) ** 2 / counts.mean()).sum()) < 120  # chi-squared of 71: 0.9997


def test_a_method_is_trained_on_them() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(12, 16)) * 3

    def split(classes: range) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        x = np.concatenate([centres[k] + rng.normal(size=(20, 16)) for k in classes])
        return x, np.repeat(list(classes), 20)

    tasks = FeatureTasks({"train": split(range(6)), "test": split(range(6, 12))}, 5, 1, 5)
    learner = fphi.PrototypicalLearner(fphi.MLP(16, (32,), 16))
    assert fphi.evaluate(learner, tasks, count=50).accuracy > 0.5


@pytest.mark.parametrize(
    ("splits", "options", "said"),
    [
        ({}, {}, "no split"),
        ({"train": _data(range(4))}, {}, "has 4 classes"),
        ({"train": _data(range(6), each=4)}, {}, "has 0 classes"),
        ({"train": _data(range(6)), "test": _data(range(5, 11))}, {}, "in the splits train and test"),
        ({"train": _numbered(float), "test": _numbered(int)}, {}, "class 0 is in the splits train and test"),
        ({"train": _numbered(int), "test": _numbered(float)}, {}, "class 0.0 is in the splits train and"),
        ({"train": _numbered(str), "test": _numbered(float)}, {}, "class 0.0 is in the splits train and"),
        ({"train": (np.zeros((3, 2)), [0, 1, np.nan])}, {}, "labels that are not finite; remove these"),
        ({"train": (np.zeros((3, 2)), [0, 1])}, {}, "3 examples and 2 labels"),
        ({"train": (np.full((3, 2), np.nan), [0, 1, 2])}, {}, "not finite"),
    ],
)
def test_what_makes_no_tasks_is_refused(splits: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        FeatureTasks(splits, **({"ways": 5, "shots": 2, "queries": 3} | options))
    with pytest.raises(DataError, match="no split 'dev'"):
        _tasks().task("dev", 0)
