"""The options of learned weights besides those of method, data, network and training."""

from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from fphi.errors import DataError, FphiError
from fphi.experiment.search.options import DataOptions
from fphi.ranges import count, number, require_ranges
from fphi.tasks.clean import load_clean, without_doubles
from fphi.tasks.corruption import Corrupted, Noise, corrupted
from fphi.tasks.supervised import SUPERVISED, Supervised, load_supervised
from fphi.tasks.types import Examples

__all__ = ["BesideOptions", "ExampleOptions", "WeighedTask"]

_CLEAN = 100


class WeighedTask(NamedTuple):
    """A large task some of whose training labels are wrong, or some of whose classes are rare.

    Attributes:
        data: what is trained on; ``validation`` are further examples with right labels.
        clean: examples whose labels can be trusted, none of which is among those.
        truth: the right labels of the training examples ``[n]``, which nothing learns from; None: not known.
    """

    data: Supervised
    clean: Examples
    truth: Tensor | None

    @property
    def wrong(self) -> Tensor | None:
        """Which training labels are wrong, bool ``[n]``; None: not known."""
        return None if self.truth is None else self.data.train.y != self.truth

    def digest(self) -> str:
        """Of all examples and labels: a run goes on with those that it began with."""
        digest = blake2b(digest_size=8)
        for part in (self.data.train, self.clean, self.data.validation, self.data.test):
            for tensor in part:
                digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class ExampleOptions:
    """Which examples there are, what is wrong with them, and which can be trusted.

    Args:
        clean: folder or zip of images whose labels can be trusted, one folder per class, in place of
            --clean-examples; a fifth of each class, or --validation-examples, are for validation.
        clean_examples: examples whose labels can be trusted, equally many of each class; they are taken out
            of the training set, as those of validation are, before anything is made wrong.
        noise: wrong labels that are put into the training examples: none, uniform (a label is drawn from all
            classes), flip (it becomes another class, a certain one), flip2 (one of two).
        share: of the labels that noise is put on.
        imbalance: the most frequent class has so many times the examples of the rarest.
        classes: only these, by their numbers from 0, as [4,9]; all if not given.
        class_examples: training examples of each class in their order, as [20,4970].
        seed: of everything random.
    """

    clean: str | None = None
    clean_examples: int = count(_CLEAN, 1_000_000_000)
    noise: Noise = "uniform"
    share: float = number(0.4, 0, 1)
    imbalance: float = number(1.0, 1, 1e9)
    classes: tuple[int, ...] | None = None
    class_examples: tuple[int, ...] | None = count(None, 1_000_000_000)
    seed: int = number(0, 0, 2**63 - 1)

    def __post_init__(self) -> None:
        """Refuse two ways to say how many examples there are."""
        require_ranges(type(self), vars(self))
        if self.clean is not None and self.clean_examples != _CLEAN:
            raise FphiError(
                f"--clean-examples {self.clean_examples} and --clean {self.clean}, whose images are clean "
                "ones: give one of them; --validation-examples says how many are for validation"
            )
        if self.class_examples is not None and self.imbalance != 1:
            raise FphiError(
                f"--imbalance {self.imbalance:g} and --class-examples {list(self.class_examples)}: "
                "give one of them"
            )

    def load(self, data: DataOptions) -> WeighedTask:
        """The data, with what is wrong put into them; a function of the seed.

        Raises:
            FphiError: the data are missing, or fewer than was asked for.
        """
        wanted = data.validation_examples
        if self.clean is not None:
            apart: int | None = 0
        else:
            apart = None if wanted is None else wanted + self.clean_examples
        loaded = load_supervised(
            data.data,
            data.data_root,
            train=data.train_examples,
            validation=apart,
            test=data.test_examples,
            seed=self.seed,
            image_size=data.image_size,
            mode=data.mode,
            classes=self.classes,
        )
        if self.clean is None:
            clean, rest = self._clean(loaded)
        else:
            clean, rest = self._of_folder(loaded, data, self.clean)
            loaded = without_doubles(loaded, torch.cat([clean.x, rest.x]), self.clean)
        made = self._worse(loaded._replace(validation=rest))
        return WeighedTask(made.data, clean, None if self.noise == "none" else made.truth)

    def _worse(self, data: Supervised) -> Corrupted:
        """With what is asked for put into the training examples."""
        try:
            kept = corrupted(
                data, "none", imbalance=self.imbalance, seed=self.seed, counts=self.class_examples
            )
        except DataError as error:
            if self.class_examples is None:
                raise
            raise DataError(f"--class-examples {list(self.class_examples)}: {error}") from error
        return corrupted(kept.data, self.noise, self.share, seed=self.seed)

    def _of_folder(self, loaded: Supervised, data: DataOptions, path: str) -> tuple[Examples, Examples]:
        """The clean examples of a folder, and those for validation, whose classes take turns."""
        size, mode = data.image_size, data.mode
        if data.data in SUPERVISED:  # these have a size and channels of their own
            size, mode = loaded.input_shape[1], "grey" if loaded.input_shape[0] == 1 else "rgb"
        x, y = load_clean(path, loaded, image_size=size, mode=mode, seed=self.seed, numbers=self.classes)
        count = data.validation_examples or len(y) // 5
        if not 1 <= count <= len(y) - loaded.classes:
            raise FphiError(
                f"{count} of {len(y)} images of {path} for validation: the {loaded.classes} classes need one "
                "clean example each besides; give more images, or other --validation-examples"
            )
        apart = _shares(y, count)
        _require_each(y[~apart], path, loaded.classes)
        return Examples(x[~apart], y[~apart]), Examples(x[apart], y[apart])

    def _clean(self, loaded: Supervised) -> tuple[Examples, Examples]:
        """The clean examples, and the rest of those that were taken out; in both, classes take turns."""
        (x, y), count = loaded.validation, self.clean_examples
        if not loaded.classes <= count < len(y):
            raise FphiError(
                f"--clean-examples is {count}: {loaded.name} has {loaded.classes} classes, each of which "
                f"needs one, and {len(y)} examples are set apart, of which one at least is for validation; "
                "ask for another number, or for more --validation-examples"
            )
        _require_each(y[:count], loaded.name, loaded.classes)
        return Examples(x[:count], y[:count]), Examples(x[count:], y[count:])


def _shares(y: Tensor, count: int) -> Tensor:
    """Which of the examples are for validation, bool ``[n]``: of each class its share, but never its last."""
    sizes = y.bincount()[y]
    turn = one_hot(y).cumsum(0).gather(1, y[:, None])[:, 0]
    order = ((turn - 0.5) / sizes + (turn == sizes)).argsort(stable=True)
    apart = torch.zeros(len(y), dtype=torch.bool)
    apart[order[:count]] = True
    return apart


def _require_each(y: Tensor, name: str, classes: int) -> None:
    missing = sorted(set(range(classes)) - set(y.tolist()))
    if missing:
        raise FphiError(f"none of {len(y)} clean examples of {name} is of class {missing[0]}; ask for more")


_FOLDS = 3


@dataclass(frozen=True)
class BesideOptions:
    """What the result is compared with.

    Args:
        control: whether the same network is trained without weights too, in the same way: plainly, and on
            what confident learning leaves of the labels; both on the clean examples besides.
        folds: parts of the training examples, each of which is judged by a network that was trained on the
            others.
    """

    control: bool = True
    folds: int = count(_FOLDS, 100, least=2)

    def __post_init__(self) -> None:
        """Refuse folds that nobody makes."""
        require_ranges(type(self), vars(self))
        if not self.control and self.folds != _FOLDS:
            raise FphiError(
                f"--folds {self.folds} and --control false: cleaning is left out, so leave --folds out too"
            )
