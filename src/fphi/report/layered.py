"""A layered drawing of a graph: nodes in rows, every edge downwards, labels that nothing crosses.

After Sugiyama, Tagawa and Toda 1981: rows by the longest path, a place in each row for every edge that passes
it, places ordered and shifted towards the mean of their neighbours. Not by a library: the layouts of networkx
and igraph know neither the widths of texts nor labels of edges, and Graphviz is no Python package.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import fmean

from fphi.learnable.architecture import Graph

__all__ = ["Layout", "Place", "layered"]

_LETTER, _MARGIN, _BEND = 0.068, 0.26, 0.16  # inches: of a letter, around a text, for an edge that passes
_SWEEPS = 12


@dataclass
class Place:
    """Something in a row: a node, an edge's label, or a bend of an edge that passes.

    Args:
        row: from 0 at the top; nodes stand in even rows, labels in odd ones.
        text: what is written there.
        is_node: whether it is a node.
        x: of its middle, in inches.
    """

    row: int
    text: str = ""
    is_node: bool = False
    x: float = 0.0
    above: list["Place"] = field(default_factory=list, repr=False)
    below: list["Place"] = field(default_factory=list, repr=False)

    @property
    def width(self) -> float:
        """The room it needs, in inches."""
        return _LETTER * len(self.text) + _MARGIN if self.text or self.is_node else _BEND


@dataclass(frozen=True)
class Layout:
    """Places with their coordinates, and the places that each edge goes through.

    Args:
        places: all of them, the graph's nodes first.
        paths: of each edge in the graph's order, from node to node.
        width: in inches; x goes from 0 to it.
        rows: how many.
    """

    places: list[Place]
    paths: list[list[Place]]
    width: float
    rows: int


def layered(graph: Graph) -> Layout:
    """Where to draw everything.

    Raises:
        ValueError: an edge leads to an earlier node.
    """
    depths = _depths(graph)
    nodes = [Place(2 * depth, text, True) for depth, text in zip(depths, graph.nodes, strict=True)]
    places, paths = [*nodes], []
    for edge in graph.edges:
        path = [nodes[edge.start], *_bends(nodes[edge.start], nodes[edge.end], edge.label), nodes[edge.end]]
        places += path[1:-1]
        paths.append(path)
        for upper, lower in pairwise(path):
            upper.below.append(lower)
            lower.above.append(upper)
    rows = [[place for place in places if place.row == row] for row in range(2 * max(depths, default=0) + 1)]
    _arrange(rows)
    left = min((place.x - place.width / 2 for place in places), default=0.0)
    for place in places:
        place.x -= left
    return Layout(places, paths, max((p.x + p.width / 2 for p in places), default=0.0), len(rows))


def _depths(graph: Graph) -> list[int]:
    """The longest path to each node."""
    depths = [0] * len(graph.nodes)
    for edge in sorted(graph.edges, key=lambda e: e.end):
        if edge.start >= edge.end:
            raise ValueError(f"edge from node {edge.start} to {edge.end}: edges lead to later nodes")
        depths[edge.end] = max(depths[edge.end], depths[edge.start] + 1)
    return depths


def _bends(start: Place, end: Place, label: str) -> list[Place]:
    """A place in each row between two nodes; the label is in the middle one of the odd rows."""
    rows = range(start.row + 1, end.row)
    middle = rows[len(rows) // 2] if (len(rows) // 2) % 2 == 0 else rows[len(rows) // 2 - 1]
    return [Place(row, label if row == middle else "") for row in rows]


def _arrange(rows: list[list[Place]]) -> None:
    """Order the places of each row, then shift them: towards their neighbours, without an overlap."""
    for row in rows:
        _shift(row, [0.0] * len(row))
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for row in rows[1:] if down else rows[-2::-1]:
            wanted = {id(place): _mean_x(place.above if down else place.below, place.x) for place in row}
            if sweep < _SWEEPS // 2:
                row.sort(key=lambda place: wanted[id(place)])
            _shift(row, [wanted[id(place)] for place in row])
    for row in rows:  # in the end both sides count
        _shift(row, [_mean_x(place.above + place.below, place.x) for place in row])


def _mean_x(neighbours: list[Place], otherwise: float) -> float:
    return fmean(place.x for place in neighbours) if neighbours else otherwise


def _shift(row: list[Place], wanted: Sequence[float]) -> None:
    """Place a row as near to ``wanted`` as its order and widths allow, in least squares.

    Less the room taken by those before, this is a regression to an ascending sequence, which pooling
    adjacent violators solves.
    """
    offsets = [0.0]
    for left, right in pairwise(row):
        offsets.append(offsets[-1] + (left.width + right.width) / 2)
    blocks: list[tuple[float, int]] = []  # mean and number of places that stand together
    for x, offset in zip(wanted, offsets, strict=False):
        mean, count = x - offset, 1
        while blocks and blocks[-1][0] >= mean:
            before, others = blocks.pop()
            mean, count = (mean * count + before * others) / (count + others), count + others
        blocks.append((mean, count))
    means = [mean for mean, count in blocks for _ in range(count)]
    for place, mean, offset in zip(row, means, offsets, strict=False):
        place.x = mean + offset
