"""One ordinary learning problem, the large task of searches for architectures and augmentation policies."""

import importlib.util
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fphi.errors import DataError
from fphi.tasks.archive import open_archive
from fphi.tasks.cache import cache_folder, cached_pool
from fphi.tasks.folder import ImageMode, image_files, load_folder, load_split_folders
from fphi.tasks.idx import read_idx
from fphi.tasks.labelled import Labelled, balanced_order, moments, only_classes
from fphi.tasks.pool import ClassPool
from fphi.tasks.types import Examples

__all__ = ["SUPERVISED", "Supervised", "load_supervised"]

_ROOT = "or name the folder that has it by --data-root or FPHI_DATA"

_TEST_SEED = 0
"""Test examples are the same whatever the seed of the search."""


class Supervised(NamedTuple):
    """Data of one problem in three parts; ``x`` float32 of mean 0 and deviation 1, ``y`` int64.

    ``notes`` are what a user should know of how they were read, a plain line each; ``names`` those of the
    classes, where these come from a folder or zip; ``levels`` mean and deviation ``[C, 1, 1]`` of the images'
    grey levels 0 … 255, by which they were standardised, or None where the examples are no images; ``rows``
    int64 ``[n]`` where the examples of ``train`` stand in the data's training set, or in all of the data
    where these have no test set, from 0; ``files`` the names that they are numbers of, where each is a file.
    """

    name: str
    train: Examples
    validation: Examples
    test: Examples
    classes: int
    notes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    levels: tuple[Tensor, Tensor] | None = None
    rows: Tensor | None = None
    files: tuple[str, ...] = ()

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return tuple(self.train.x.shape[1:])


# What may be trained on, validation included, and what is for testing.
_Halves = tuple[Labelled, Labelled]


def load_supervised(
    name: str,
    data_root: Path | str | None = None,
    *,
    train: int | None = None,
    validation: int | None = None,
    test: int | None = None,
    seed: int = 0,
    image_size: int = 28,
    mode: ImageMode = "grey",
    classes: Sequence[int] | None = None,
) -> Supervised:
    """Return one classification problem.

    Validation examples are taken out of the training set; the test set is the data's own, or, where the
    data have none, a fifth of each class that does not depend on the seed. Subsets hold equally many
    examples of each class, as far as there are any. All parts are standardised, each channel by the
    mean and deviation of the training examples.

    Args:
        name: "digits" (8x8, comes with scikit-learn), "mnist", "cifar10", or the path of a folder or zip
            of images, ``CLASS/image`` or ``SPLIT/CLASS/image``.
        data_root: where data sets are; None: the folder that FPHI_DATA names, else the cache.
        train: examples to train on; None: all that validation leaves.
        validation: examples taken out of the training set; None: all that training leaves, or a fifth
            where that is not given either; 0: none.
        test: examples to test on; None: all.
        seed: of which examples are drawn for training and for validation.
        image_size: pixels of a side, for a path.
        mode: channels, for a path.
        classes: only these, by their numbers, which become 0, 1, …; None: all.

    Raises:
        DataError: the data are missing, damaged, or fewer than was asked for.

    >>> digits = load_supervised("digits", train=1000)
    >>> len(digits.train.y), len(digits.validation.y), len(digits.test.y), digits.input_shape
    (1000, 442, 355, (1, 8, 8))
    """
    if name in SUPERVISED:
        halves = SUPERVISED[name](_root(data_root))
    elif Path(name).exists():
        halves = _folder(Path(name), image_size, mode)
    else:
        raise DataError(f"data {name!r} are neither {', '.join(SUPERVISED)} nor an existing folder or zip")
    if classes is not None:
        halves = only_classes(halves[0], classes, name), only_classes(halves[1], classes, name)
    counts = _counts(name, len(halves[0].labels), train, validation)
    if not len(halves[1].labels):
        raise DataError(f"no class of {name} has 5 images, of which one is for testing; give more images")
    tests = len(halves[1].labels) if test is None else test
    if not 1 <= tests <= len(halves[1].labels):
        raise DataError(f"{tests} test examples of {name}: ask for 1 to {len(halves[1].labels)}")
    return _divided(name, halves, counts, tests, seed)


def mnist_folder(data_root: Path | str | None = None) -> Path:
    """Return where MNIST's four files are to be.

    Args:
        data_root: see `load_supervised`.
    """
    return _root(data_root) / "mnist"


def _root(data_root: Path | str | None) -> Path:
    return Path(data_root or os.environ.get("FPHI_DATA") or cache_folder())


def _counts(name: str, there: int, train: int | None, validation: int | None) -> tuple[int, int]:
    """How many examples training and validation have."""
    least = 0 if validation == 0 else 1
    if validation is None:
        validation = there // 5 if train is None else max(0, there - train)
    train = max(0, there - validation) if train is None else train
    if train < 1 or validation < least or train + validation > there:
        raise DataError(
            f"{train} training and {validation} validation examples of {name}: its training set has "
            f"{there}; ask for at least 1 of each and no more than that together"
        )
    return train, validation


def _divided(name: str, halves: _Halves, counts: tuple[int, int], tests: int, seed: int) -> Supervised:
    both, held_out = halves
    order = balanced_order(both.labels, seed)
    # Validation first: it is the same whatever the number of training examples.
    validation = order[: counts[1]]
    train = order[counts[1] : sum(counts)]
    classes = int(both.labels.max()) + 1
    missing = sorted(set(range(classes)) - set(both.labels[train].tolist()))
    if missing:
        raise DataError(
            f"{counts[0]} training examples of {name} leave class {missing[0]} without any; ask for more, or "
            "for fewer apart from them"
        )
    first_tests = np.sort(balanced_order(held_out.labels, _TEST_SEED)[:tests])
    mean, deviation = moments(both.images[train])

    def standardised(data: Labelled, rows: NDArray[np.int64]) -> Examples:
        x = torch.from_numpy(data.images[rows]).float()
        return Examples(x.sub_(mean).div_(deviation), torch.from_numpy(data.labels[rows]))

    return Supervised(
        name,
        standardised(both, train),
        standardised(both, validation),
        standardised(held_out, first_tests),
        classes,
        both.notes,
        both.names,
        (mean, deviation),
        torch.from_numpy(both.taken(train).rows),
        both.files,
    )


def _digits(root: Path) -> _Halves:
    """1,797 digits of 8x8 pixels with values 0 … 16; scikit-learn's copy has no test set of its own."""
    rows = _digit_rows()
    images = (15 * rows[:, :64]).astype(np.uint8).reshape(-1, 1, 8, 8)
    return _split_off(Labelled(images, rows[:, 64].astype(np.int64)))


def _digit_rows() -> NDArray[np.float64]:
    """64 pixels and the digit; scikit-learn, slow to load, is asked only where its file is not found."""
    installed = importlib.util.find_spec("sklearn")
    for folder in (installed and installed.submodule_search_locations) or ():
        file = Path(folder, "datasets", "data", "digits.csv.gz")
        if file.is_file():
            return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits

    data = load_digits()
    return np.column_stack((data.data, data.target))


def _mnist(root: Path) -> _Halves:
    halves = []
    for part, count in (("train", 60_000), ("t10k", 10_000)):
        images = read_idx(_mnist_file(root, f"{part}-images-idx3-ubyte"))
        labels = read_idx(_mnist_file(root, f"{part}-labels-idx1-ubyte"))
        if images.shape != (count, 28, 28) or labels.shape != (count,) or labels.max() > 9:
            raise DataError(
                f"the files {part}-* of MNIST hold images {images.shape} and labels {labels.shape}, not "
                f"{(count, 28, 28)} and {(count,)} of 10 classes; fetch them again"
            )
        halves.append(Labelled(images[:, None], labels.astype(np.int64)))
    return halves[0], halves[1]


def _mnist_file(root: Path, name: str) -> Path:
    for folder in (root / "mnist", root):
        for path in (folder / f"{name}.gz", folder / name):
            if path.is_file():
                return path
    raise DataError(f"{name}.gz of MNIST is not there; put it into {root / 'mnist'}, {_ROOT}")


def _cifar10(root: Path) -> _Halves:
    halves = []
    for part, count in (("train", 50_000), ("test", 10_000)):
        found = [
            path for path in (root / "cifar10" / f"{part}.zip", root / "cifar10" / part) if path.exists()
        ]
        if not found:
            raise DataError(
                f"{part}.zip of CIFAR-10, images in class folders, is not there; "
                f"put it into {root / 'cifar10'}, {_ROOT}"
            )
        pool = _cached(f"cifar10-{part}", found[0], lambda path: load_folder(path, 32, "rgb"))
        if len(pool) != 10 or pool.counts["images"] != count:
            raise DataError(
                f"{found[0]} has {pool.counts['images']} images of {len(pool)} classes, not {count} of 10; "
                "fetch it again"
            )
        halves.append(pool)
    return _by_class(root / "cifar10", halves[:1], halves[1])


def _cached(name: str, path: Path, load: Callable[[Path], ClassPool]) -> ClassPool:
    return cached_pool(name, open_archive(path).fingerprint(), lambda: load(path))


def _folder(path: Path, size: int, mode: ImageMode) -> _Halves:
    pools, files = load_split_folders(path, size, mode), image_files(path)
    test = pools.pop("test", None)
    if not pools:
        raise DataError(f"{path} has test images only; expected train/CLASS/image.png beside them")
    listed = tuple(name for split in pools for name in files[split])
    return _by_class(path, list(pools.values()), test, listed)


def _by_class(
    where: Path, pools: Sequence[ClassPool], test: ClassPool | None, files: tuple[str, ...] = ()
) -> _Halves:
    """The classes numbered by their names in order; a training set may come in several pools."""
    names = sorted({name for pool in pools for name in pool.names})
    strange = sorted(set(test.names if test is not None else ()) - set(names))
    if strange:
        raise DataError(
            f"{where} has test images of {strange[0]!r} and none to train on; give every class a folder "
            "in the training set"
        )
    both = Labelled(
        np.concatenate([p.images for p in pools]),
        np.concatenate([_labels(p, names) for p in pools]),
        tuple(dict.fromkeys(note for p in pools for note in p.notes)),
        tuple(names),
        files=files,
    )
    if len(names) < 2:
        raise DataError(f"{where} has images of {names[0]!r} alone; there is nothing to tell apart")
    return _split_off(both) if test is None else (both, Labelled(test.images, _labels(test, names)))


def _labels(pool: ClassPool, names: Sequence[str]) -> NDArray[np.int64]:
    return np.repeat(np.array([names.index(name) for name in pool.names], dtype=np.int64), pool.sizes)


def _split_off(data: Labelled) -> _Halves:
    """A fifth of each class as the test set."""
    rng = np.random.default_rng(_TEST_SEED)
    held_out = np.zeros(len(data.labels), dtype=np.bool_)
    for label in np.unique(data.labels):
        places = rng.permutation(np.flatnonzero(data.labels == label))
        held_out[places[: len(places) // 5]] = True
    return data.taken(np.flatnonzero(~held_out)), data.taken(np.flatnonzero(held_out))


SUPERVISED: dict[str, Callable[[Path], _Halves]] = {"digits": _digits, "mnist": _mnist, "cifar10": _cifar10}
"""The data sets that go by a name, and what reads them from the folder of all data."""
