"""What the classifier for wrong labels is given, as the arrays and numbers that it takes."""

from collections import Counter
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from sklearn.utils import check_random_state
from torch import Tensor

from fphi.errors import FphiError
from fphi.ranges import SEED, checked

__all__ = ["Given", "Scale", "classes_of", "numbers_of", "seed_of"]


@dataclass(frozen=True)
class Scale:
    """By what examples are standardised, column by column.

    Args:
        mean: of each column.
        deviation: of each; 1 where all values are one.
    """

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    @classmethod
    def of(cls, X: NDArray[np.float64]) -> Self:
        """That of examples ``[n, …]``."""
        mean, deviation = X.mean(0), X.std(0)
        # A column of one value deviates by what its mean was rounded.
        return cls(mean, np.where(deviation > 1e-9 * np.abs(mean), deviation, 1))

    def standardised(self, X: NDArray[np.float64]) -> Tensor:
        """Examples as the network takes them."""
        return torch.from_numpy((X - self.mean) / self.deviation).float()


@dataclass(frozen=True)
class Given:
    """What the classifier learns from.

    Args:
        X: examples that it trains on ``[kept, …]``.
        y: their labels.
        X_clean: examples with labels that can be trusted.
        y_clean: these labels.
        kept: which of the examples that were given these are, bool ``[n]``: those that are no clean ones too.
        contradicted: which of all are clean ones with another label, bool ``[n]``.
    """

    X: NDArray[np.float64]
    y: NDArray[Any]
    X_clean: NDArray[np.float64]
    y_clean: NDArray[Any]
    kept: NDArray[np.bool_]
    contradicted: NDArray[np.bool_]

    @classmethod
    def read(cls, X: ArrayLike, y: ArrayLike, X_clean: ArrayLike, y_clean: ArrayLike) -> Self:
        """From arrays.

        Raises:
            FphiError: they are no examples with labels, of one shape and on one scale, or all of X are clean
                ones.
        """
        examples, labels = _read("", X, y)
        clean, clean_labels = _read("_clean", X_clean, y_clean)
        if clean.shape[1:] != examples.shape[1:]:
            raise FphiError(
                f"an example of X has shape {list(examples.shape[1:])} and one of X_clean "
                f"{list(clean.shape[1:])}; give the same"
            )
        _require_same_scale(examples, clean)
        agreeing, contradicted = _doubles(examples, labels, clean, clean_labels)
        kept = ~(agreeing | contradicted)
        if not kept.any():
            raise FphiError("all examples of X are among X_clean; give others to train on")
        return cls(examples[kept], labels[kept], clean, clean_labels, kept, contradicted)

    def of_all_rows(self, kept: NDArray[Any], others: NDArray[Any]) -> NDArray[Any]:
        """Values of the examples that were trained on among those of all ``[n]``."""
        values = others.copy()
        values[self.kept] = kept
        return values


def _require_same_scale(X: NDArray[np.float64], X_clean: NDArray[np.float64]) -> None:
    """Refuse clean examples that have not gone through what the others have, as steps of a pipeline.

    A column is elsewhere if more than half of the clean values are beyond the range of all others, widened by
    its half, on one side: chance and rare classes hardly make it so. One such column may be honest (a date,
    say), a quarter of them and at least two are not.
    """
    low, high = X.min(0), X.max(0)
    width, most = (high - low) / 2, len(X_clean) // 2
    below, above = (X_clean < low - width).sum(0), (X_clean > high + width).sum(0)
    elsewhere = ((below > most) | (above > most))[width > 0]
    found, columns = int(elsewhere.sum()), elsewhere.size
    if found and found >= max(min(2, columns), columns / 4):
        raise FphiError(
            f"X_clean is elsewhere than X in {found} of {columns} columns; transform both in the same way: a "
            "Pipeline does so where its transform_input names X_clean"
        )


def _doubles(
    X: NDArray[np.float64], y: NDArray[Any], X_clean: NDArray[np.float64], y_clean: NDArray[Any]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which examples are clean ones too, with their label and with another, both bool ``[n]``.

    Each clean one is found once, first where the label is the same: other examples of few values may well be
    equal to it.
    """
    rows, clean = _bytes(X), _bytes(X_clean)
    of_both = Counter(zip(clean, y_clean.tolist(), strict=True))
    of_row = Counter(clean)
    agreeing, contradicted = np.zeros(len(y), dtype=bool), np.zeros(len(y), dtype=bool)
    for i, both in enumerate(zip(rows, y.tolist(), strict=True)):
        if of_both[both] > 0:
            of_both[both] -= 1
            of_row[rows[i]] -= 1
            agreeing[i] = True
    for i in np.flatnonzero(~agreeing).tolist():
        if of_row[rows[i]] > 0:
            of_row[rows[i]] -= 1
            contradicted[i] = True
    return agreeing, contradicted


def _bytes(X: NDArray[np.float64]) -> list[bytes]:
    """Of each example; the zeros of both signs are one."""
    return [row.tobytes() for row in X + 0.0]


def classes_of(y: NDArray[Any], y_clean: NDArray[Any]) -> NDArray[Any]:
    """The labels in order.

    Raises:
        FphiError: there is one, or the clean examples are not of the same classes.
    """
    classes = np.unique(y)
    if len(classes) < 2:
        raise FphiError(f"all labels of y are {classes[0]!s}; there is nothing to tell apart")
    missing = np.setdiff1d(classes, y_clean)
    if len(missing):
        raise FphiError(f"y_clean has no example of class {missing[0]!s}; give at least one of each")
    strange = np.setdiff1d(y_clean, classes)
    if len(strange):
        raise FphiError(f"y_clean has the class {strange[0]!s}, of which y has no example")
    return classes


def seed_of(random_state: object) -> int:
    """A seed, or one that a generator gives; None: a new one."""
    if random_state is None or isinstance(random_state, np.random.RandomState):
        return int(check_random_state(random_state).randint(2**31))
    return _checked_seed(random_state)  # type: ignore[arg-type]


@checked(random_state=SEED)
def _checked_seed(random_state: int) -> int:
    return int(random_state)


def numbers_of(name: str, X: ArrayLike) -> NDArray[np.float64]:
    """Examples ``[n, …]`` as numbers.

    Raises:
        FphiError: they are none, or not finite.
    """
    if issparse(X):
        raise FphiError(f"{name} is sparse, which networks do not take; give {name}.toarray()")
    try:
        given = X.detach().cpu().double() if isinstance(X, Tensor) else X
        numbers = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise FphiError(f"{name} is no array of numbers; encode texts and categories as numbers") from error
    if numbers.ndim < 2 or not numbers.size:
        raise FphiError(f"{name} has shape {list(numbers.shape)}; give examples [n, features], at least one")
    if not np.isfinite(numbers).all():
        raise FphiError(f"{name} has values that are not finite; fill in or leave out what is missing")
    return numbers


def _read(suffix: str, X: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Examples and as many labels."""
    examples = numbers_of(f"X{suffix}", X)
    labels = np.asarray(y.detach().cpu() if isinstance(y, Tensor) else y)
    if labels.shape != (len(examples),):
        raise FphiError(
            f"y{suffix} has shape {list(labels.shape)} and X{suffix} {len(examples)} examples; "
            "give a label for each"
        )
    whole = labels.dtype.kind == "f" and bool((labels == np.floor(labels)).all() & np.isfinite(labels).all())
    if not (whole or labels.dtype.kind in "biuUS" or all(isinstance(label, str) for label in labels)):
        raise FphiError(f"y{suffix} has labels of type {labels.dtype}; give whole numbers or texts")
    return examples, labels
