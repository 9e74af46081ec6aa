"""Random numbers by address: stable values, and draws without replacement that are uniform."""

from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fphi.errors import DataError
from fphi.tasks import SineTasks, load_tasks
from fphi.tasks.hashing import draw_distinct, permutation, stream_key, task_indices, uniform


@pytest.mark.parametrize(("n", "k"), [(1, 1), (3, 2), (4, 4), (5, 3)])
def test_distinct_draws_hit_every_ordered_selection_equally_often(n: int, k: int) -> None:
    # Draw j has n-j outcomes; the middles of all combinations of their intervals enumerate them exactly.
    axes = [(np.arange(n - j) + 0.5) / (n - j) for j in range(k)]
    u = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, k)
    drawn = [tuple(row) for row in draw_distinct(u, n).tolist()]
    assert sorted(drawn) == sorted(permutations(range(n), k))


@given(st.integers(1, 30), st.integers(0, 2**40), st.data())
def test_distinct_draws_are_distinct_and_in_range(n: int, index: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, n))
    drawn = draw_distinct(uniform(stream_key(0, "x"), np.array([index]), k), n)[0]
    assert len(set(drawn.tolist())) == k
    assert drawn.min() >= 0
    assert drawn.max() < n


def test_distinct_draws_take_one_count_per_row() -> None:
    u = uniform(stream_key(0, "ragged"), np.arange(1000), 6).reshape(1000, 2, 3)
    n = np.tile([3, 50], (1000, 1))
    drawn = draw_distinct(u, n)
    assert set(drawn[:, 0].ravel().tolist()) == {0, 1, 2}
    assert set(drawn[:, 1].ravel().tolist()) == set(range(50))


def test_uniform_numbers_have_the_moments_and_correlations_of_uniform_numbers() -> None:
    u = uniform(stream_key(3, "train", "x"), np.arange(50_000), 4)
    assert u.min() >= 0
    assert u.max() < 1
    assert np.abs(u.mean(axis=0) - 0.5).max() < 4 * np.sqrt(1 / 12 / 50_000)
    neighbours = np.concatenate([u[:-1], u[1:]], axis=1)
    off_diagonal = np.corrcoef(neighbours.T) - np.eye(8)
    assert np.abs(off_diagonal).max() < 5 / np.sqrt(50_000)


def test_a_number_depends_on_its_address_only() -> None:
    key = stream_key(0, "train", "ways")
    alone, among = uniform(key, np.array([77]), 5), uniform(key, np.array([5, 77, 3]), 9)
    assert (alone[0] == among[1, :5]).all()


def test_streams_differ_between_seeds_splits_and_purposes() -> None:
    keys = {int(stream_key(s, split, use)) for s in range(50) for split in "ab" for use in "cd"}
    assert len(keys) == 200


def test_every_process_draws_the_same_numbers() -> None:
    """These, in whichever process: Python's own hash of a text is another one in each."""
    drawn = uniform(stream_key(5, "test"), np.array([9]), 2)[0].tolist()
    assert drawn == [0.5008159183982014, 0.2278313782258452]


def test_splitmix64_reference_values() -> None:
    # The first outputs of the generator seeded with 1234567 (Rosetta Code, task Splitmix64).
    from fphi.tasks.hashing import _GAMMA, _mix

    state = np.uint64(1234567) + np.arange(1, 4, dtype=np.uint64) * _GAMMA
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert _mix(state).tolist() == expected


def test_a_permutation_is_one_and_depends_on_the_seed() -> None:
    orders = [permutation(100, seed, "split").tolist() for seed in (0, 0, 1)]
    assert sorted(orders[0]) == list(range(100))
    assert orders[0] == orders[1] != orders[2]


def test_negative_index_is_refused() -> None:
    with pytest.raises(DataError, match="task index -3 is negative"):
        task_indices([4, -3])


@pytest.mark.parametrize(
    "indices",
    [
        range(1, 3),
        (1, 2),
        [np.int32(1), np.uint8(2)],
        np.array([1, 2], dtype=np.uint16),
        torch.tensor([1, 2]),
        [torch.tensor(1), 2],
    ],
    ids=str,
)
def test_task_numbers_are_whole_numbers_of_any_kind(indices: Any) -> None:
    assert task_indices(indices).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([2.5], r"task index 2\.5 is no whole number"),
        ([0, "1"], "task index '1' is no whole number"),
        ([True], "task index True is no whole number"),
        (np.array([True]), "is no whole number"),
        (torch.tensor([True]), "is no whole number"),
        (torch.tensor([1.0]), "is no whole number"),
        ([None], "task index None is no whole number"),
        ([10**19], r"task index 1\d* is too large; tasks are numbered up to 9223372036854775807"),
        ([-(10**19)], "is negative"),
        (5, "the task numbers are 5; give a list or a range of them"),
        (torch.tensor(5), r"the task numbers are tensor\(5\); give a list"),
        ("12", "the task numbers are '12'; give a list"),
        ({0: 1}, "give a list or a range"),
    ],
    ids=str,
)
def test_what_is_no_task_number_is_refused(indices: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        task_indices(indices)
    for tasks in (SineTasks(), load_tasks("hershey")):
        with pytest.raises(DataError, match=message):
            tasks.batch("train", indices)
