"""The eleven mutations of Real et al. (ICML 2017, arXiv 1703.01041); numbers change by up to a factor of 2.

With inherited weights three of them keep the function exactly: `identity`, `alter_learning_rate`, and
`insert_one_to_one` where the new vertex is linear. Adding a skip does not: something is added.
"""

from collections.abc import Callable
from dataclasses import replace
from random import Random

from fphi.learnable.architecture.graph_architecture import (
    STEPS_PER_OCTAVE,
    Convolution,
    GraphArchitecture,
    GraphLimits,
    Vertex,
)

__all__ = ["MUTATIONS", "Mutation", "mutate_graph"]

# Of a graph within its limits, another one; None where there is nothing to change.
Mutation = Callable[[GraphArchitecture, GraphLimits, Random], GraphArchitecture | None]


def mutate_graph(graph: GraphArchitecture, limits: GraphLimits, rng: Random) -> GraphArchitecture:
    """A mutation, each equally likely; another one if this finds nothing to change."""
    # That the weights were new is over when the graph has a child.
    parent = replace(graph, reset=False)
    while True:
        child = rng.choice(tuple(MUTATIONS.values()))(parent, limits, rng)
        if child is not None:
            return child


def alter_learning_rate(
    graph: GraphArchitecture, limits: GraphLimits, rng: Random
) -> GraphArchitecture | None:
    """From half to twice the rate, uniformly in its logarithm."""
    count = len(limits.rates)
    near = range(max(0, graph.rate - STEPS_PER_OCTAVE), min(count, graph.rate + STEPS_PER_OCTAVE + 1))
    others = [rate for rate in near if rate != graph.rate]
    return replace(graph, rate=rng.choice(others)) if others else None


def identity(graph: GraphArchitecture, limits: GraphLimits, rng: Random) -> GraphArchitecture:
    """The same graph: with its parent's weights it is trained for longer."""
    return graph


def reset_weights(graph: GraphArchitecture, limits: GraphLimits, rng: Random) -> GraphArchitecture:
    """The same graph, from new weights."""
    return replace(graph, reset=True)


def insert_convolution(
    graph: GraphArchitecture, limits: GraphLimits, rng: Random
) -> GraphArchitecture | None:
    """A vertex anywhere in the chain: 3x3 filters, stride 1 or 2, as many channels as before it."""
    if len(graph.vertices) == limits.vertices:
        return None
    place = rng.randrange(len(graph.vertices) + 1)
    size, stride = min(3, limits.largest_filter), rng.choice(limits.strides[:2])
    edge = Convolution(size, size, stride, graph.channels(place, limits.first_channels))
    return _inserted(graph, place, Vertex(_new_identity(graph), edge, rng.random() < 0.5))


def remove_convolution(
    graph: GraphArchitecture, limits: GraphLimits, rng: Random
) -> GraphArchitecture | None:
    """A vertex goes with all edges into it; edges out of it now start at the vertex before."""
    places = _convolutions(graph)
    if not places:
        return None
    place = rng.choice(places)
    gone, before = graph.vertices[place].identity, graph.identities[place]
    later = [
        replace(vertex, skips=vertex.skips - {gone} | {before}) if gone in vertex.skips else vertex
        for vertex in graph.vertices[place + 1 :]
    ]
    return replace(graph, vertices=(*graph.vertices[:place], *later))


def alter_stride(graph: GraphArchitecture, limits: GraphLimits, rng: Random) -> GraphArchitecture | None:
    """Half or twice the stride of a convolution."""

    def altered(edge: Convolution) -> Convolution | None:
        others = [s for s in (edge.stride // 2, edge.stride * 2) if s in limits.strides]
        return replace(edge, stride=rng.choice(others)) if others else None

    return _with_edge(graph, altered, rng)


def alter_channels(graph: GraphArchitecture, limits: GraphLimits, rng: Random) -> GraphArchitecture | None:
    """From half to twice the channels of a convolution."""

    def altered(edge: Convolution) -> Convolution | None:
        most = min(2 * edge.channels, limits.most_channels)
        others = [c for c in range(-(-edge.channels // 2), most + 1) if c != edge.channels]
        return replace(edge, channels=rng.choice(others)) if others else None

    return _with_edge(graph, altered, rng)


def alter_filter_size(graph: GraphArchitecture, limits: GraphLimits, rng: Random) -> GraphArchitecture | None:
    """From half to twice the height or the width of the filters, to the odd number beyond, so 1 can grow."""

    def altered(edge: Convolution) -> Convolution | None:
        vertical = rng.random() < 0.5
        size = edge.height if vertical else edge.width
        others = [s for s in limits.filters if size // 2 <= s <= 2 * size + 1 and s != size]
        if not others:
            return None
        other = rng.choice(others)
        return replace(edge, height=other) if vertical else replace(edge, width=other)

    return _with_edge(graph, altered, rng)


def insert_one_to_one(graph: GraphArchitecture, limits: GraphLimits, rng: Random) -> GraphArchitecture | None:
    """A vertex anywhere in the chain with no convolution before it: linear, or batch norm and ReLU."""
    if len(graph.vertices) == limits.vertices:
        return None
    place = rng.randrange(len(graph.vertices) + 1)
    return _inserted(graph, place, Vertex(_new_identity(graph), None, rng.random() < 0.5))


def add_skip(graph: GraphArchitecture, limits: GraphLimits, rng: Random) -> GraphArchitecture | None:
    """From any vertex or the image to any later vertex."""
    absent = [
        (place, start)
        for place, vertex in enumerate(graph.vertices)
        for start in graph.identities[: place + 1]
        if start not in vertex.skips
    ]
    if not absent:
        return None
    place, start = rng.choice(absent)
    return _replaced(
        graph, place, replace(graph.vertices[place], skips=graph.vertices[place].skips | {start})
    )


def remove_skip(graph: GraphArchitecture, limits: GraphLimits, rng: Random) -> GraphArchitecture | None:
    """Any of those there are."""
    present = [
        (place, start) for place, vertex in enumerate(graph.vertices) for start in sorted(vertex.skips)
    ]
    if not present:
        return None
    place, start = rng.choice(present)
    return _replaced(
        graph, place, replace(graph.vertices[place], skips=graph.vertices[place].skips - {start})
    )


MUTATIONS: dict[str, Mutation] = {
    "alter_learning_rate": alter_learning_rate,
    "identity": identity,
    "reset_weights": reset_weights,
    "insert_convolution": insert_convolution,
    "remove_convolution": remove_convolution,
    "alter_stride": alter_stride,
    "alter_channels": alter_channels,
    "alter_filter_size": alter_filter_size,
    "insert_one_to_one": insert_one_to_one,
    "add_skip": add_skip,
    "remove_skip": remove_skip,
}


def _new_identity(graph: GraphArchitecture) -> int:
    """One that the parent has not: weights are inherited from nobody else, so older ones may come back."""
    return next(number for number in range(len(graph.identities)) if number not in graph.identities)


def _convolutions(graph: GraphArchitecture) -> list[int]:
    """Places of the vertices with a convolution before them."""
    return [place for place, vertex in enumerate(graph.vertices) if vertex.edge is not None]


def _with_edge(
    graph: GraphArchitecture, altered: Callable[[Convolution], Convolution | None], rng: Random
) -> GraphArchitecture | None:
    """The graph with a convolution at random altered."""
    places = _convolutions(graph)
    if not places:
        return None
    place = rng.choice(places)
    edge = graph.vertices[place].edge
    assert edge is not None
    other = altered(edge)
    return None if other is None else _replaced(graph, place, replace(graph.vertices[place], edge=other))


def _inserted(graph: GraphArchitecture, place: int, vertex: Vertex) -> GraphArchitecture:
    return replace(graph, vertices=(*graph.vertices[:place], vertex, *graph.vertices[place:]))


def _replaced(graph: GraphArchitecture, place: int, vertex: Vertex) -> GraphArchitecture:
    return replace(graph, vertices=(*graph.vertices[:place], vertex, *graph.vertices[place + 1 :]))
