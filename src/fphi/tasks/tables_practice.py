"""From a number to classes, and what tables are like in practice: the last steps of the prior over tables."""

import numpy as np

from fphi.tasks.tables_draws import Draws, Numbers, Whole

__all__ = ["as_in_practice", "cumulative", "noisy", "renamed", "target", "with_all_classes_first"]


def target(draws: Draws, scores: Numbers, classes: Whole) -> Whole:
    """Classes of nodes ``[B, rows, n]``: intervals of the first one, or the largest of as many as classes."""
    level = scores - scores.mean(1, keepdims=True)
    level = level / (level.std(1, keepdims=True) + 1e-6)
    chance = np.where(draws.uniform("chance") < 0.5, draws.between("chances", 0.05, 2), 0)
    level = level + chance[:, None, None] * draws.normal("by chance", *level.shape[1:])
    there = np.arange(scores.shape[2]) < classes[:, None, None]
    largest = np.where(there, level, -np.inf).argmax(2)
    between = _intervals(draws, level[:, :, 0], classes, scores.shape[2])
    return np.where(draws.uniform("largest")[:, None] < 0.4, largest, between)


def _intervals(draws: Draws, value: Numbers, classes: Whole, ways: int) -> Whole:
    """Between random quantiles of a number; of more intervals than classes, several are of one."""
    most = 2 * ways
    count = np.where(draws.uniform("more") < 0.2, 2 * classes, classes)
    ends = cumulative(draws, count, most)
    rank = (ends * value.shape[1]).astype(np.int64).clip(0, value.shape[1] - 1)
    bounds = np.take_along_axis(np.sort(value, 1), rank, 1)
    interval = np.minimum((value[:, :, None] >= bounds[:, None]).sum(2), count[:, None] - 1)
    names = draws.uniform("names", most).argsort(1)
    found = np.take_along_axis(names, interval, 1)
    return np.where(count[:, None] > classes[:, None], found % classes[:, None], interval)


def cumulative(draws: Draws, count: Whole, most: int) -> Numbers:
    """Where the shares ``[B, most]`` of so many classes end, which are more or less alike."""
    shares = np.exp(draws.uniform("imbalance")[:, None] ** 2 * 1.2 * draws.normal("shares", most))
    shares *= np.arange(most) < count[:, None]
    ends: Numbers = (shares / shares.sum(1, keepdims=True)).cumsum(1)
    return ends


def noisy(draws: Draws, y: Whole, classes: Whole) -> Whole:
    """Some classes of some tables are wrong."""
    share = np.where(draws.uniform("wrong") < 0.25, 0.2 * draws.uniform("wrong share"), 0)
    other = (draws.uniform("other", y.shape[1]) * classes[:, None]).astype(np.int64)
    return np.where(draws.uniform("which wrong", y.shape[1]) < share[:, None], other, y)


def as_in_practice(draws: Draws, x: Numbers) -> Numbers:
    """Warped scales, categories, columns of noise, and values that are missing (the column's mean)."""
    rows, columns = x.shape[1:]
    x = x - x.mean(1, keepdims=True)
    x = x / (x.std(1, keepdims=True) + 1e-6)
    power = np.exp(0.7 * draws.normal("power", 1, columns))
    kind = draws.uniform("scale", 1, columns)
    x = np.where(kind < 0.15, np.sign(x) * np.abs(x) ** power, x)
    x = np.where((kind > 0.15) & (kind < 0.3), np.exp(np.minimum(0.8 * power * x, 8)), x)
    step = draws.between("step", 0.3, 2, 1, columns)
    share = np.where(draws.uniform("categories") < 0.4, draws.uniform("category share"), 0)[:, None, None]
    x = np.where(draws.uniform("category", 1, columns) < share, np.round(x / step) * step, x)
    share = np.where(draws.uniform("noisy") < 0.3, 0.5 * draws.uniform("noise share"), 0)[:, None, None]
    x = np.where(draws.uniform("noise column", 1, columns) < share, draws.normal("noise", rows, columns), x)
    x = x - x.mean(1, keepdims=True)
    x = x / (x.std(1, keepdims=True) + 1e-6)
    share = np.where(draws.uniform("missing") < 0.1, 0.3 * draws.uniform("missing share"), 0)[:, None, None]
    return np.where(draws.uniform("missing value", rows, columns) < share, 0, x).astype(np.float32)


def renamed(draws: Draws, y: Whole, ways: int) -> Whole:
    """Class numbers in random order, from 0 and without gaps."""
    there = (y[:, :, None] == np.arange(ways)).any(1)
    names = np.where(there, draws.uniform("renamed", ways), 2).argsort(1).argsort(1)
    return np.take_along_axis(names, y, 1)


def with_all_classes_first(x: Numbers, y: Whole) -> tuple[Numbers, Whole]:
    """Rows reordered so that the first one of each class comes before all others."""
    same = y[:, :, None] == y[:, None, :]
    first = same.argmax(2) == np.arange(y.shape[1])
    order = np.argsort(~first, axis=1, kind="stable")
    return np.take_along_axis(x, order[:, :, None], 1), np.take_along_axis(y, order, 1)
