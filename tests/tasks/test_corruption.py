"""Wrong labels and rare classes: the rows of the noise, the counts of a long tail, and what stays as it was."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fphi.errors import DataError, FphiError
from fphi.tasks.corruption import (
    Noise,
    corrupted,
    flip2_noise,
    flip_noise,
    long_tail_counts,
    noisy_labels,
    uniform_noise,
)
from fphi.tasks.supervised import Supervised, load_supervised


@pytest.fixture(scope="module")
def digits() -> Supervised:
    return load_supervised("digits", validation=100)


def test_uniform_noise_counts_the_right_class_too() -> None:
    matrix = uniform_noise(10, 0.4)
    assert matrix.diagonal().tolist() == pytest.approx([0.64] * 10)
    assert matrix[~torch.eye(10, dtype=torch.bool)].tolist() == pytest.approx([0.04] * 90)


@given(st.integers(3, 12), st.floats(0, 1), st.integers(0, 99))
def test_rows_are_distributions(classes: int, share: float, seed: int) -> None:
    for others, matrix in ((1, flip_noise(classes, share, seed)), (2, flip2_noise(classes, share, seed))):
        assert matrix.sum(1).tolist() == pytest.approx([1] * classes)
        assert matrix.diagonal().tolist() == pytest.approx([1 - share] * classes)
        apart = matrix - torch.diag(matrix.diagonal())
        if share > 0:
            assert (apart > 0).sum(1).tolist() == [others] * classes
    assert uniform_noise(classes, share).sum(1).tolist() == pytest.approx([1] * classes)
    assert torch.equal(flip_noise(classes, share, seed), flip_noise(classes, share, seed))


def test_noisy_labels_have_the_shares_of_their_row() -> None:
    y = torch.arange(3).repeat(20_000)
    matrix = torch.tensor([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.1, 0.2, 0.7]], dtype=torch.float64)
    drawn = noisy_labels(y, matrix, seed=1)
    for row in range(3):
        shares = np.bincount(drawn[y == row], minlength=3) / 20_000
        assert shares.tolist() == pytest.approx(matrix[row].tolist(), abs=0.015)  # 4 standard deviations
        assert (shares[matrix[row].numpy() == 0] == 0).all()
    assert torch.equal(noisy_labels(y, matrix, seed=1), drawn)
    assert not torch.equal(noisy_labels(y, matrix, seed=2), drawn)
    assert torch.equal(noisy_labels(y, torch.eye(3)), y)


@pytest.mark.parametrize(
    ("most", "factor", "counts"),
    [
        (5000, 100, [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]),
        (5000, 10, [5000, 3871, 2997, 2320, 1796, 1391, 1077, 834, 645, 500]),
        (4990, 100, [4990, 2991, 1793, 1075, 644, 386, 231, 138, 83, 49]),
        (7, 1, [7] * 10),
    ],
)
def test_long_tail_counts_are_the_reference_s(most: int, factor: float, counts: list[int]) -> None:
    assert long_tail_counts(most, factor, 10) == counts
    assert long_tail_counts(5, 3, 1) == [5]
    assert long_tail_counts(98, 49, 3) == [98, 14, 2]


@pytest.mark.parametrize("noise", ["none", "uniform", "flip", "flip2"])
def test_only_training_examples_are_worse(digits: Supervised, noise: Noise) -> None:
    worse = corrupted(digits, noise, 0.4, seed=3)
    assert torch.equal(worse.data.train.x, digits.train.x)
    assert torch.equal(worse.truth, digits.train.y)
    assert all(torch.equal(a, b) for a, b in zip(worse.data.validation, digits.validation, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(worse.data.test, digits.test, strict=True))
    expected = {"none": 0.0, "uniform": 0.36}.get(noise, 0.4)
    assert float(worse.wrong.float().mean()) == pytest.approx(expected, abs=0.053)  # 4 standard deviations
    assert torch.equal(corrupted(digits, noise, 0.4, seed=3).data.train.y, worse.data.train.y)


def test_the_clean_examples_are_balanced_and_apart(digits: Supervised) -> None:
    assert digits.validation.y.bincount().tolist() == [10] * 10
    pool = {x.numpy().tobytes() for x in digits.train.x}
    assert len(pool) == len(digits.train.x)
    assert not any(x.numpy().tobytes() in pool for x in digits.validation.x)


def test_a_long_tail_keeps_examples_as_they_are(digits: Supervised) -> None:
    rare = corrupted(digits, "none", imbalance=20, seed=1)
    most = int(digits.train.y.bincount().min())
    assert rare.data.train.y.bincount().tolist() == long_tail_counts(most, 20, 10)
    there = {x.numpy().tobytes(): int(y) for x, y in zip(*digits.train, strict=True)}
    kept = [(x.numpy().tobytes(), int(y)) for x, y in zip(*rare.data.train, strict=True)]
    assert len(set(kept)) == len(kept)
    assert all(there[x] == y for x, y in kept)
    other = corrupted(digits, "none", imbalance=20, seed=2)
    assert not torch.equal(other.data.train.x, rare.data.train.x)
    both = corrupted(digits, "flip", 0.5, imbalance=20, seed=1)
    assert torch.equal(both.data.train.x, rare.data.train.x)
    assert torch.equal(both.truth, rare.data.train.y)
    assert both.wrong.any()


def test_what_cannot_be_is_refused(digits: Supervised) -> None:
    with pytest.raises(DataError, match="an imbalance of 1000 leaves a class of digits without examples"):
        corrupted(digits, "none", imbalance=1000)
    with pytest.raises(FphiError, match=r"share is 1.5; it must be at most 1"):
        corrupted(digits, "uniform", 1.5)
    with pytest.raises(FphiError, match="noise is 'much'; it must be one of none, uniform, flip, flip2"):
        corrupted(digits, "much")  # type: ignore[arg-type]
    with pytest.raises(FphiError, match=r"imbalance is 0.5; it must be at least 1"):
        corrupted(digits, imbalance=0.5)
    with pytest.raises(DataError, match="labels of 2 classes cannot flip to 2 others"):
        flip2_noise(2, 0.1)
    y = torch.tensor([0, 1])
    with pytest.raises(DataError, match="no distribution"):
        noisy_labels(y, torch.ones(2, 2))
    with pytest.raises(DataError, match=r"shape \[2, 3\]"):
        noisy_labels(y, torch.ones(2, 3))
    with pytest.raises(DataError, match="labels from 0 to 2 and noise of 2 classes"):
        noisy_labels(torch.tensor([0, 2]), torch.eye(2))


def test_counts_of_each_class_are_kept_as_they_are_asked_for(digits: Supervised) -> None:
    wanted = [3, 100, 1, 7, 50, 9, 2, 4, 80, 20]
    rare = corrupted(digits, "none", seed=1, counts=wanted)
    assert rare.data.train.y.bincount().tolist() == wanted
    assert not rare.wrong.any()
    assert digits.rows is not None
    assert rare.data.rows is not None
    places = {n: i for i, n in enumerate(digits.rows.tolist())}
    kept = torch.tensor([places[n] for n in rare.data.rows.tolist()])
    assert torch.equal(digits.train.x[kept], rare.data.train.x)
    with pytest.raises(DataError, match="counts of 2 classes, and digits has 10; give one for each"):
        corrupted(digits, counts=[1, 1])
    for count, error in ((1000, "1000 training examples of class 0 of digits: it has"), (0, "at least 1")):
        with pytest.raises(FphiError, match=error):
            corrupted(digits, counts=[count, *wanted[1:]])
