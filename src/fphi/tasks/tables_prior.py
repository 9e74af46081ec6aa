"""The prior over tables: random tables of numbers with classes, many at once, each a function of its address.

A table is made in three steps: rows of hidden causes, columns and a target of these, and what tables are
like in practice (categories, warped scales, noise, missing values). All that is random in it, such as how
deep its graph is or how noisy its nodes are, is drawn for each table anew.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fphi.tasks.tables_draws import Draws, Numbers, Whole
from fphi.tasks.tables_practice import (
    as_in_practice,
    cumulative,
    noisy,
    renamed,
    target,
    with_all_classes_first,
)

__all__ = ["LAYERS", "NODES", "draw_tables"]

NODES, LAYERS = 32, 3  # of the largest graph, and so the most columns
_CLOUDS = 3  # of a class, at most
_LEVELS = 5  # of a tree


@dataclass(frozen=True)
class Kind:
    """What is drawn of tables before their rows.

    Args:
        rows: of each table.
        most: columns of the widest table.
        ways: classes of the table that has most.
        columns: of each table ``[B]``.
        classes: of each table ``[B]``, at least 2.
    """

    rows: int
    most: int
    ways: int
    columns: Whole
    classes: Whole

    def at(self, rows: NDArray[np.bool_]) -> "Kind":
        """Of some of the tables."""
        return replace(self, columns=self.columns[rows], classes=self.classes[rows])

    @property
    def is_column(self) -> NDArray[np.bool_]:
        """``[B, most]``."""
        return np.arange(self.most) < self.columns[:, None]


def draw_tables(draws: Draws, rows: int, columns: int, ways: int) -> tuple[Numbers, Whole]:
    """Tables ``[B, rows, columns]`` and classes ``[B, rows]``; columns that a table does not have are 0.

    Each class of a table is that of one of the first ``ways`` rows.

    Args:
        draws: random numbers of these tables.
        rows: of each.
        columns: the most of a table, up to 32.
        ways: the most classes of a table; it has at least 2.
    """
    classes = np.where(draws.uniform("two") < 0.35, 2, draws.whole("classes", 2, ways))
    kind = Kind(rows, columns, ways, draws.whole("columns", min(2, columns), columns), classes)
    sort = np.searchsorted(np.cumsum(_SHARES), draws.uniform("sort"))
    x = np.zeros((len(classes), rows, columns), np.float32)
    y = np.zeros((len(classes), rows), np.int64)
    for number, make in enumerate(_SORTS):
        own = sort == number
        if own.any():
            x[own], y[own] = make(draws.at(own), kind.at(own))
    x = as_in_practice(draws, x) * kind.is_column[:, None]
    return with_all_classes_first(x, renamed(draws, noisy(draws, y, classes), ways))


def _structural(draws: Draws, kind: Kind) -> tuple[Numbers, Whole]:
    """Columns and target are nodes of one graph: some columns are causes of the target, some its effects."""
    depth = draws.whole("depth", 1, LAYERS)
    causes = draws.whole("causes", 1, 12)[:, None]
    least = -(-(kind.columns + kind.classes) // depth)
    width = np.minimum(np.maximum(draws.whole("width", 4, NODES), least), NODES)
    roots = _roots(draws, kind.rows) * (np.arange(NODES) < causes)[:, None]
    nodes = np.concatenate(_graph(draws, roots, width), axis=2)
    place = np.arange(nodes.shape[2])
    there = np.where(place < NODES, place < causes, place % NODES < width[:, None])
    there &= place // NODES <= depth[:, None]
    block = (place - draws.whole("block", 1, len(place))[:, None]) % len(place) / len(place)
    order = np.where(draws.uniform("blocks")[:, None] < 0.5, block, draws.uniform("nodes", len(place)))
    chosen = np.where(there, order, 2 + place).argsort(1)  # the table's nodes first
    after = np.minimum(kind.columns[:, None] + np.arange(kind.ways), len(place) - 1)
    scores = _gather(nodes, np.take_along_axis(chosen, after, 1))
    return _gather(nodes, chosen[:, : kind.most]), target(draws, scores, kind.classes)


def _network(draws: Draws, kind: Kind) -> tuple[Numbers, Whole]:
    """The target is a random network's answer to the columns, some of which it does not look at."""
    x = _correlated(draws, _roots(draws, kind.rows)[:, :, : kind.most])
    looked = np.arange(kind.most) < draws.whole("looked", 1, 12)[:, None]
    seen = np.zeros((len(x), kind.rows, NODES), np.float32)
    seen[:, :, : kind.most] = x * (looked & kind.is_column)[:, None]
    layers = _graph(draws, seen, draws.whole("width", 2, NODES))
    last = np.stack(layers, 1)[np.arange(len(x)), draws.whole("depth", 1, LAYERS)]
    return x, target(draws, last[:, :, : kind.ways], kind.classes)


def _clusters(draws: Draws, kind: Kind) -> tuple[Numbers, Whole]:
    """Each class is one to three clouds of points, which differ in some of the columns."""
    y = _by_weight(draws, kind)
    clouds = draws.whole("clouds", 1, _CLOUDS)[:, None]
    cloud = y * _CLOUDS + (draws.uniform("cloud", kind.rows) * clouds).astype(np.int64)
    telling = (
        draws.uniform("telling", kind.most) < draws.uniform("share")[:, None] + 1 / kind.columns[:, None]
    )
    apart = draws.between("apart", 0.7, 5) / (telling & kind.is_column).sum(1).clip(1) ** 0.35
    centres = draws.normal("centres", kind.ways * _CLOUDS, kind.most) * (telling * apart[:, None])[:, None]
    unlike = 0.5 * draws.uniform("unlike")[:, None, None]
    spread = np.exp(unlike * draws.normal("spread", kind.ways, kind.most))
    points = _correlated(draws, draws.normal("points", kind.rows, kind.most))
    table = np.arange(len(y))[:, None]
    return centres[table, cloud] + points * spread[table, y], y


def _tree(draws: Draws, kind: Kind) -> tuple[Numbers, Whole]:
    """Thresholds on single columns, one after another, lead to a class."""
    x = _correlated(draws, _roots(draws, kind.rows)[:, :, : kind.most])
    nodes = 2 ** (_LEVELS + 1) - 1
    looked = np.minimum(draws.whole("looked", 1, kind.most), kind.columns)[:, None]
    column = (draws.uniform("column", nodes) * looked).astype(np.int64)
    threshold = 0.7 * draws.normal("threshold", nodes)
    depth, node = draws.whole("levels", 1, _LEVELS)[:, None], np.zeros(x.shape[:2], np.int64)
    for level in range(_LEVELS):
        value = np.take_along_axis(x, np.take_along_axis(column, node, 1)[:, :, None], 2)[:, :, 0]
        right = value > np.take_along_axis(threshold, node, 1)
        node = np.where(level < depth, 2 * node + 1 + right, node)
    leaves = (draws.uniform("leaf", nodes) * kind.classes[:, None]).astype(np.int64)
    other = 1 + (draws.uniform("other leaf", nodes // 2) * (kind.classes[:, None] - 1)).astype(np.int64)
    leaves[:, 2::2] = (leaves[:, 1::2] + other) % kind.classes[:, None]  # than its neighbour
    return x, np.take_along_axis(leaves, node, 1)


_SORTS: Sequence[Callable[[Draws, Kind], tuple[Numbers, Whole]]] = (_structural, _network, _clusters, _tree)
_SHARES = (0.3, 0.3, 0.28, 0.12)  # of them


def _roots(draws: Draws, rows: int) -> Numbers:
    """Causes that have none themselves ``[B, rows, NODES]``: normal, uniform, or with long tails."""
    z = draws.normal("roots", rows, NODES)
    form = draws.uniform("form")[:, None, None]
    even = np.tanh(0.9 * z) * 1.5
    tailed = z * np.abs(z) * 0.6
    return np.where(form < 0.55, z, np.where(form < 0.85, even, tailed))


def _correlated(draws: Draws, z: Numbers) -> Numbers:
    """Columns that have part of their variance in common, of one to all directions."""
    columns = z.shape[2]
    common = np.arange(columns) < draws.whole("common", 1, columns)[:, None]
    mixing = draws.normal("mixing", columns, columns) * common[:, :, None]
    mixing = mixing / (np.sqrt(np.square(mixing).sum(1, keepdims=True)) + 1e-6)
    strength = np.where(draws.uniform("alone") < 0.3, 0, draws.uniform("strength"))[:, None, None]
    mixed: Numbers = np.sqrt(1 - strength) * z + np.sqrt(strength) * (z @ mixing)
    return mixed


def _graph(draws: Draws, z: Numbers, width: Whole) -> list[Numbers]:
    """The layers ``[B, rows, NODES]`` of a random network with noisy nodes, the first of which is ``z``."""
    layers, there = [z], np.arange(NODES) < width[:, None]
    kept, noise = draws.between("edges", 0.2, 1), draws.between("noise", 1e-3, 0.2)
    for layer in range(LAYERS):
        begins = np.any(z, axis=1, keepdims=False) if layer == 0 else there
        edge = (draws.uniform(f"edges {layer}", NODES, NODES) < kept[:, None, None]) & begins[:, :, None]
        edge |= ~edge.any(1, keepdims=True) & begins[:, :, None]  # no node is without any
        weights = draws.normal(f"weights {layer}", NODES, NODES) * edge
        size = np.sqrt(np.square(weights).sum(1, keepdims=True)) + 1e-6
        z = z @ (weights * draws.between(f"gain {layer}", 0.5, 1.5)[:, None, None] / size)
        z = z + 0.5 * draws.normal(f"bias {layer}", 1, NODES)
        z = _activated(z, draws.uniform(f"activation {layer}"))
        z = z + noise[:, None, None] * draws.normal(f"noise {layer}", z.shape[1], NODES)
        layers.append(z)
    return layers


_ACTIVATIONS: Sequence[Callable[[Numbers], Numbers]] = (
    lambda z: z,
    lambda z: z,
    np.tanh,
    np.tanh,
    lambda z: np.maximum(z, 0),
    lambda z: np.maximum(z, 0),
    np.abs,
    lambda z: np.sin(2 * z),
    lambda z: np.exp(-np.square(z)),
    lambda z: (z > 0).astype(np.float32),
)


def _activated(z: Numbers, u: Numbers) -> Numbers:
    which = (u * len(_ACTIVATIONS)).astype(np.int64)
    out = np.empty_like(z)
    for number, activation in enumerate(_ACTIVATIONS):
        own = which == number
        if own.any():
            out[own] = activation(z[own])
    return out


def _by_weight(draws: Draws, kind: Kind) -> Whole:
    """Classes ``[B, rows]``, some more frequent than others."""
    ends = cumulative(draws, kind.classes, kind.ways)
    found = (draws.uniform("class", kind.rows)[:, :, None] > ends[:, None]).sum(2)
    classes: Whole = np.minimum(found, kind.classes[:, None] - 1)
    return classes


def _gather(nodes: Numbers, places: Whole) -> Numbers:
    return np.take_along_axis(nodes, places[:, None], 2)
