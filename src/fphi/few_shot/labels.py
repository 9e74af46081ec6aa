"""The labels that scikit-learn calls y, and other small things that an estimator is given."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from fphi.few_shot.items import ExamplesError

__all__ = ["all_or_nothing", "labels_of", "plain"]


@contextmanager
def all_or_nothing(estimator: object) -> Iterator[None]:
    """Whatever is raised within it leaves the estimator as it was."""
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise


def labels_of(y: Any, count: int) -> NDArray[Any]:
    """The labels ``[count]``: numbers, texts or booleans; dates and mixtures as texts.

    Raises:
        ExamplesError: they are no labels of classes, some are missing, or they are not as many.
    """
    if y is None:
        raise ExamplesError("This FewShotClassifier requires y to be passed, but the target y is None")
    try:
        labels = _of_one_type(column_or_1d(y, warn=True))
        check_classification_targets(labels)
    except ValueError as error:
        raise ExamplesError(" ".join(str(error).split())) from error
    if len(labels) != count:
        raise ExamplesError(f"X has {count} examples and y {len(labels)} labels; give one for each")
    return labels


def _of_one_type(labels: NDArray[Any]) -> NDArray[Any]:
    if labels.dtype.kind in "Mm":
        return labels.astype(str)
    if labels.dtype.kind != "O":
        return labels
    values = labels.tolist()
    for i, value in enumerate(values):
        if value is None or _is_missing(value):
            raise ExamplesError(
                f"label {i} of y is missing ({value!s}); give each example one, or leave it out"
            )
    alike = np.array(values)
    return (
        alike
        if len({type(value) for value in values}) == 1 and alike.dtype.kind != "O"
        else labels.astype(str)
    )


def _is_missing(value: Any) -> bool:
    """NaN, and what pandas has for it: equal to nothing, not even to itself."""
    try:
        return not bool(value == value)  # noqa: PLR0124
    except TypeError:
        return True


def plain(value: Any) -> Any:
    """A number or text of numpy's as Python's own."""
    return value.item() if hasattr(value, "item") else value
