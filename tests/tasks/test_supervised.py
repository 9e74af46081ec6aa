"""The data of one ordinary problem: how they are divided, read from files, and what damaged ones are answered with."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fphi.errors import DataError
from fphi.tasks import load_folder
from fphi.tasks.folder import load_split_folders
from fphi.tasks.idx import read_idx
from fphi.tasks.supervised import Supervised, load_supervised
from fphi.tasks.types import Examples

needs_data = pytest.mark.skipif(not os.environ.get("FPHI_DATA"), reason="FPHI_DATA is unset: no real data")


def rows(x: Tensor) -> set[bytes]:
    return {row.numpy().tobytes() for row in x}


def raw(data: Supervised) -> list[Tensor]:
    """The parts on one scale, whatever they were standardised with: digits have 17 values."""
    unit = (data.train.x.max() - data.train.x.min()) / 16
    return [((p.x - data.train.x.min()) / unit).round() for p in (data.train, data.validation, data.test)]


def counts(labels: Tensor) -> list[int]:
    return labels.bincount().tolist()


def test_digits_are_those_of_scikit_learn_each_in_one_part() -> None:
    from sklearn.datasets import load_digits

    parts = raw(load_supervised("digits"))
    assert [len(part) for part in parts] == [1154, 288, 355]
    found = torch.cat(parts).flatten(1).sort(dim=0).values
    there = torch.from_numpy(load_digits().data).float().sort(dim=0).values
    assert torch.equal(found, there)


def test_training_examples_have_mean_0_and_deviation_1_and_the_rest_share_their_scale() -> None:
    data = load_supervised("digits", train=300)
    assert (data.name, data.classes, data.input_shape) == ("digits", 10, (1, 8, 8))
    assert abs(float(data.train.x.mean())) < 1e-6
    assert abs(float(data.train.x.std(correction=0)) - 1) < 1e-6
    assert data.train.x.dtype == torch.float32
    assert data.train.y.dtype == torch.int64
    assert {float(part.min()) for part in raw(data)} == {0.0}
    assert {float(part.max()) for part in raw(data)} == {16.0}


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 60), st.integers(1, 60))
def test_subsets_are_balanced_disjoint_and_a_function_of_the_seed(seed: int, tens: int, more: int) -> None:
    data = load_supervised("digits", train=10 * tens, validation=10 * more, seed=seed)
    assert counts(data.train.y) == [tens] * 10
    assert counts(data.validation.y) == [more] * 10
    parts = [rows(part) for part in raw(data)]
    assert not parts[0] & parts[1]
    assert not parts[2] & (parts[0] | parts[1])
    again = load_supervised("digits", train=10 * tens, validation=10 * more, seed=seed)
    assert all(torch.equal(a.x, b.x) for a, b in zip(data[1:4], again[1:4], strict=True))


def test_another_seed_draws_other_examples_and_the_same_test_set() -> None:
    a, b = (load_supervised("digits", train=200, validation=200, seed=seed) for seed in (0, 1))
    assert rows(raw(a)[1]) != rows(raw(b)[1])
    assert rows(raw(a)[0]) != rows(raw(b)[0])
    assert torch.equal(raw(a)[2], raw(b)[2])
    assert torch.equal(a.test.y, b.test.y)


def test_validation_does_not_depend_on_how_many_are_trained_on() -> None:
    few, many = (load_supervised("digits", train=n, validation=200) for n in (100, 1000))
    assert torch.equal(raw(few)[1], raw(many)[1])
    assert rows(raw(few)[0]) < rows(raw(many)[0])


def test_a_count_that_is_not_given_is_all_that_is_left() -> None:
    sizes = [
        [len(part.y) for part in load_supervised("digits", **given)[1:4]]  # type: ignore[arg-type]
        for given in ({}, {"train": 1000}, {"validation": 42}, {"test": 50})
    ]
    assert sizes == [[1154, 288, 355], [1000, 442, 355], [1400, 42, 355], [1154, 288, 50]]
    assert counts(load_supervised("digits", test=50).test.y) == [5] * 10


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"train": 1443}, "1443 training and 0 validation examples of digits: its training set has 1442"),
        ({"train": 0}, "0 training and 1442 validation examples"),
        ({"train": 1000, "validation": 443}, "1000 training and 443 validation examples"),
        ({"train": 9}, "9 training examples of digits leave class .* without any; ask for more"),
        ({"test": 356}, "356 test examples of digits: ask for 1 to 355"),
    ],
)
def test_counts_that_there_are_not(given: dict[str, int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_supervised("digits", **given)  # type: ignore[arg-type]


def test_unknown_data_are_answered_with_the_known() -> None:
    with pytest.raises(DataError, match="data 'cifar' are neither digits, mnist, cifar10 nor an existing"):
        load_supervised("cifar")


def write_folder(root: Path, per_class: int, classes: str = "ab", shade: int = 0) -> None:
    for label, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for i in range(per_class):
            Image.new("RGB", (6, 6), (shade + 40 * label, i, 100)).save(root / name / f"{i:03d}.png")


def test_a_folder_without_a_test_set_gives_a_fifth_of_each_class(tmp_path: Path) -> None:
    write_folder(tmp_path / "images", 10)
    data = load_supervised(str(tmp_path / "images"), image_size=6, mode="rgb", validation=4)
    assert [counts(part.y) for part in data[1:4]] == [[6, 6], [2, 2], [2, 2]]
    assert data.input_shape == (3, 6, 6)
    assert data.notes == ()
    assert "read in grey" in load_supervised(str(tmp_path / "images"), image_size=6, validation=4).notes[0]
    # Red tells the classes apart; blue is the same everywhere and is left at 0.
    assert torch.equal(data.test.x[:, 0, 0, 0] > 0, data.test.y == 1)
    assert (data.test.x[:, 2] == 0).all()


def shades(part: Examples) -> set[float]:
    return set(part.x[:, 0].flatten().tolist())


def test_split_folders_of_the_same_classes_are_training_and_test_set(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", 8, shade=10)
    write_folder(tmp_path / "val", 2, shade=20)
    write_folder(tmp_path / "test", 3, shade=30)
    assert load_folder(tmp_path).groups == ("", "")  # few-shot classes are in one split only
    pools = load_split_folders(tmp_path, 6, "rgb")
    assert {split: pool.sizes.tolist() for split, pool in pools.items()} == {
        "train": [8, 8],
        "validation": [2, 2],
        "test": [3, 3],
    }
    data = load_supervised(str(tmp_path), image_size=6, mode="rgb", validation=10)
    assert [counts(part.y) for part in data[1:4]] == [[5, 5], [5, 5], [3, 3]]
    assert len(shades(data.test)) == 2
    assert not shades(data.test) & shades(data.train)


def test_test_images_of_a_class_that_is_not_trained_on_are_refused(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", 6, "ab")
    write_folder(tmp_path / "test", 6, "abc")
    with pytest.raises(DataError, match="has test images of 'c' and none to train on"):
        load_supervised(str(tmp_path))
    write_folder(tmp_path / "other/test", 6)
    with pytest.raises(DataError, match="has test images only; expected train/CLASS"):
        load_supervised(str(tmp_path / "other"))
    write_folder(tmp_path / "one", 6, "a")
    with pytest.raises(DataError, match="there is nothing to tell apart"):
        load_supervised(str(tmp_path / "one"))
    write_folder(tmp_path / "small", 4)
    with pytest.raises(DataError, match=r"no class of .*small has 5 images"):
        load_supervised(str(tmp_path / "small"))


def idx(array: NDArray[np.uint8]) -> bytes:
    header = bytes((0, 0, 8, array.ndim)) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return header + array.tobytes()


def test_idx_files_give_what_was_written(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (3, 4, 5), dtype=np.uint8)
    (tmp_path / "plain").write_bytes(idx(array))
    (tmp_path / "packed.gz").write_bytes(gzip.compress(idx(array), mtime=0))
    assert np.array_equal(read_idx(tmp_path / "plain"), array)
    assert np.array_equal(read_idx(tmp_path / "packed.gz"), array)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x1f\x8b and no more", "cannot be read"),
        (gzip.compress(b"\x00" * 99, mtime=0)[:-12], "cannot be read"),
        (b"<html>", "is no IDX file of bytes: it begins with 3c 68 74 6d"),
        (b"\x00\x00\x08\x03\x00\x00", "ends within its header"),
        (idx(np.zeros((2, 3), np.uint8))[:-1], r"holds 5 bytes, not 6 for \(2, 3\)"),
        (idx(np.zeros((2, 3), np.uint8)) + b"x", r"holds 7 bytes or more, not 6 for \(2, 3\)"),
    ],
)
def test_damaged_idx_files_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "file.gz").write_bytes(content)
    with pytest.raises(DataError, match=f"file.gz {message}.*fetch it again"):
        read_idx(tmp_path / "file.gz")


def test_missing_and_incomplete_files_are_answered_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"train-images-idx3-ubyte\.gz of MNIST is not there; put it into .*mnist, or name the folder .* FPHI_DATA",
    ):
        load_supervised("mnist", tmp_path)
    with pytest.raises(
        DataError,
        match=r"train\.zip of CIFAR-10, .* is not there; put it into .*cifar10, or .* by --data-root",
    ):
        load_supervised("cifar10", tmp_path)
    for part in ("train", "t10k"):
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx(np.zeros((2, 28, 28), np.uint8)))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.zeros(2, np.uint8)))
    with pytest.raises(
        DataError, match=r"files train-\* of MNIST hold images \(2, 28, 28\) .* fetch them again"
    ):
        load_supervised("mnist", tmp_path)
    write_folder(tmp_path / "cifar10/train", 3)
    with pytest.raises(DataError, match=r"cifar10/train has 6 images of 2 classes, not 50000 of 10"):
        load_supervised("cifar10", tmp_path)


@pytest.mark.data
@needs_data
def test_mnist_itself() -> None:
    data = load_supervised("mnist", train=500, validation=100)
    assert counts(data.test.y) == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert data.test.y[:5].tolist() == [7, 2, 1, 0, 4]
    assert data.input_shape == (1, 28, 28)
    assert 0.29 < float(1 / (data.train.x.max() - data.train.x.min())) < 0.33  # known: 0.3081


@pytest.mark.data
@needs_data
def test_cifar10_itself() -> None:
    """Its test images; to read all 50,000 for training takes half a minute."""
    pool = load_folder(Path(os.environ["FPHI_DATA"]) / "cifar10" / "test.zip", 32, "rgb")
    assert list(pool.sizes) == [1000] * 10
    assert pool.images.shape == (10_000, 3, 32, 32)
    assert {"airplane", "truck"} < set(pool.names)


def test_rows_say_where_training_examples_stand_whatever_is_drawn() -> None:
    every, some = load_supervised("digits", validation=1), load_supervised("digits", train=200, seed=5)
    assert every.rows is not None
    assert some.rows is not None
    first = dict(zip(every.rows.tolist(), every.train.y.tolist(), strict=True))
    shared = [
        (first[n], y) for n, y in zip(some.rows.tolist(), some.train.y.tolist(), strict=True) if n in first
    ]
    assert len(shared) >= 199
    assert all(known == y for known, y in shared)
    assert len(set(some.rows.tolist())) == 200


def test_some_classes_alone_are_numbered_in_their_order_and_keep_their_rows() -> None:
    every = load_supervised("digits", validation=1)
    two = load_supervised("digits", validation=20, classes=(9, 4))
    assert (two.classes, counts(two.validation.y)) == (2, [10, 10])
    assert len(two.test.y) == sum(counts(every.test.y)[k] for k in (4, 9))
    assert every.rows is not None
    assert two.rows is not None
    labels = dict(zip(every.rows.tolist(), every.train.y.tolist(), strict=True))
    found = [
        (labels[n], y) for n, y in zip(two.rows.tolist(), two.train.y.tolist(), strict=True) if n in labels
    ]
    assert {*found} == {(9, 0), (4, 1)}
    for classes in ((4,), (4, 4), (4, 10), (-1, 4)):
        with pytest.raises(DataError, match="give at least two different ones of its 10"):
            load_supervised("digits", classes=classes)
