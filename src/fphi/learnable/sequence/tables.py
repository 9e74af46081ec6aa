"""Classify the rows of a table at once, with weights that were learned on random tables."""

import copy
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from safetensors import safe_open
from torch import nn

from fphi.errors import FphiError
from fphi.learnable.base import evaluation_mode
from fphi.learnable.sequence.in_context import InContextLearner
from fphi.ranges import Range, checked
from fphi.tasks.types import Examples

__all__ = ["WEIGHTS", "pretrained_tables", "table_probabilities"]

WEIGHTS = Path(__file__).with_name("in_context.safetensors")
_SUBSETS = 4  # of a table with too many rows, at most
_QUERIES = 2048  # rows that are answered at once
_SIZES = ("ways", "columns", "width", "layers", "heads")


@cache
def pretrained_tables() -> InContextLearner:
    """The learner for tables of up to 10 classes, whose weights come with fphi; docs/tables.md says more.

    It is the same object for all who ask, and no call changes it.
    """
    with safe_open(WEIGHTS, "pt") as file:
        noted = file.metadata()
        sizes = {size: int(noted[size]) for size in _SIZES}
        learner = InContextLearner(nn.Flatten(), **sizes)  # type: ignore[arg-type]
        learner.load_state_dict({name: file.get_tensor(name).float() for name in file.keys()})  # noqa: SIM118
    return learner.eval().requires_grad_(False)


@checked(ensemble=Range(1, 100), most_rows=Range(10, 4000))
def table_probabilities(
    x: ArrayLike,
    y: ArrayLike,
    queries: ArrayLike,
    *,
    learner: InContextLearner | None = None,
    ensemble: int = 4,
    most_rows: int = 1000,
) -> NDArray[np.float64]:
    """Probabilities ``[q, classes]`` of rows of a table, after one look at rows whose classes are known.

    Values that are missing are nan: they count as the column's mean over ``x``, and a column that says where
    they were is added. Categories are given as numbers. Nothing is drawn: the same call gives the same.

    Args:
        x: numbers ``[n, d]``.
        y: classes ``[n]``, of any type that can be sorted; answers are in the order of ``np.unique(y)``.
        queries: numbers ``[q, d]``, each of which is answered by itself.
        learner: other than `pretrained_tables`.
        ensemble: answers that are averaged, for each of which classes are numbered anew.
        most_rows: of a table with more, up to four parts of so many rows are looked at, and answers averaged.

    Raises:
        FphiError: shapes do not fit, a number is infinite, or there are too many classes.

    >>> table_probabilities([[0.0], [0.1], [1.0], [1.1]], list("aabb"), [[0.05], [1.05]]).argmax(1).tolist()
    [0, 1]
    """
    learner = pretrained_tables() if learner is None else learner
    known, rows = _numbers("x", x), _numbers("queries", queries)
    names, labels = np.unique(np.asarray(y), return_inverse=True)
    _require_fit(known, labels, rows, len(names), learner.ways)
    known, rows = _complete(known, rows)
    parts = _parts(labels, most_rows)
    asked = copy.copy(learner)
    asked.ensemble = max(1, ensemble // len(parts))
    answers = [_answers(asked, known[part], labels[part], rows)[:, : len(names)] for part in parts]
    mean: NDArray[np.float64] = np.mean(answers, axis=0)
    return mean


@torch.no_grad()
def _answers(
    learner: InContextLearner, x: NDArray[np.float64], labels: NDArray[np.int64], rows: NDArray[np.float64]
) -> NDArray[np.float64]:
    device = learner.of_columns.weight.device
    known, queries = (torch.from_numpy(part).to(device, torch.float32) for part in (x, rows))
    support = Examples(known, torch.from_numpy(labels).to(device))
    with evaluation_mode(learner) as asked:
        found = [asked(support, part).double().softmax(1).cpu() for part in torch.split(queries, _QUERIES)]
    return torch.cat(found).numpy()


def _numbers(name: str, values: ArrayLike) -> NDArray[np.float64]:
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise FphiError(f"{name} holds what is no number ({error}); give categories as numbers") from error
    if numbers.ndim != 2 or 0 in numbers.shape:
        raise FphiError(f"{name} is of shape {list(numbers.shape)}; give rows and columns, [n, d]")
    if np.isinf(numbers).any():
        raise FphiError(f"{name} holds an infinite number; give nan for values that are missing")
    return numbers


def _require_fit(
    x: NDArray[np.float64], labels: NDArray[np.int64], rows: NDArray[np.float64], classes: int, ways: int
) -> None:
    if labels.shape != x.shape[:1]:
        raise FphiError(f"x has {len(x)} rows and y is of shape {list(labels.shape)}; give each row a class")
    if x.shape[1] != rows.shape[1]:
        raise FphiError(f"x has {x.shape[1]} columns and queries {rows.shape[1]}; give both the same")
    if classes > ways:
        raise FphiError(
            f"y has {classes} classes, and this learner answers up to {ways}; choose another method"
        )


def _complete(
    x: NDArray[np.float64], rows: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both standardised by ``x`` without missing values, and with columns for where these were."""
    missing = np.isnan(x)
    count = np.maximum((~missing).sum(0), 1)
    mean = np.where(missing, 0, x).sum(0) / count
    deviation = np.sqrt(np.square(np.where(missing, 0, x - mean)).sum(0) / count)
    deviation = np.where(deviation > 1e-9 * np.abs(mean), deviation, np.inf)
    some = missing.any(0) & ~missing.all(0)
    return tuple(  # type: ignore[return-value]
        np.concatenate([np.nan_to_num((part - mean) / deviation), np.isnan(part)[:, some]], axis=1)
        for part in (x, rows)
    )


def _parts(labels: NDArray[np.int64], most: int) -> list[NDArray[np.int64]]:
    """Rows to look at: all, or several parts that have the classes in their shares, rare classes whole."""
    if len(labels) <= most:
        return [np.arange(len(labels))]
    count = min(_SUBSETS, -(-len(labels) // most))
    order = np.random.default_rng(0).permutation(len(labels))
    order = order[labels[order].argsort(kind="stable")]
    sizes = np.bincount(labels)
    place = np.arange(len(order)) - np.repeat(sizes.cumsum() - sizes, sizes)
    order = order[(place / sizes[labels[order]]).argsort(kind="stable")]
    rare = np.flatnonzero(sizes[labels] < 2 * count)[: most // 2]
    common = order[~np.isin(order, rare)]
    return [np.concatenate([rare, common[part::count][: most - len(rare)]]) for part in range(count)]
