"""The eleven mutations of free graphs: everything that each of them can give, enumerated."""

from dataclasses import replace
from random import Random

import pytest

from fphi.learnable.architecture.graph_architecture import (
    IMAGE,
    Convolution,
    GraphArchitecture,
    GraphLimits,
    Vertex,
)
from fphi.learnable.architecture.graph_mutations import MUTATIONS, mutate_graph

CONV = Convolution(3, 3, 1, 8)
# image -> 4: conv, BN, ReLU -> 0: one-to-one, linear -> 2: conv, linear; 4 and the image are added to 2.
THREE = GraphArchitecture(
    16, (Vertex(4, CONV, True), Vertex(0), Vertex(2, Convolution(5, 1, 2, 6), False, frozenset({IMAGE, 4})))
)


def children(name: str, graph: GraphArchitecture = THREE, count: int = 300) -> set[GraphArchitecture | None]:
    """All that come of a mutation, with enough tries."""
    limits = GraphLimits(first_channels=3, most_channels=15)
    return {MUTATIONS[name](graph, limits, Random(seed)) for seed in range(count)}


def with_last(edge: Convolution | None = None, skips: frozenset[int] | None = None) -> GraphArchitecture:
    last = THREE.vertices[2]
    other = replace(last, edge=edge or last.edge, skips=last.skips if skips is None else skips)
    return replace(THREE, vertices=(*THREE.vertices[:2], other))


def with_first(edge: Convolution) -> GraphArchitecture:
    return replace(THREE, vertices=(replace(THREE.vertices[0], edge=edge), *THREE.vertices[1:]))


def test_learning_rates_change_by_up_to_a_factor_of_two() -> None:
    rates = [graph.rate for graph in children("alter_learning_rate") if graph]
    assert sorted(rates) == [12, 13, 14, 15, 17, 18, 19, 20]
    assert {replace(graph, rate=16) for graph in children("alter_learning_rate") if graph} == {THREE}


def test_identity_and_reset() -> None:
    assert children("identity") == {THREE}
    assert children("reset_weights") == {replace(THREE, reset=True)}
    # The child of a graph that was reset inherits again.
    fresh = replace(THREE, reset=True)
    again = [mutate_graph(fresh, GraphLimits(), Random(seed)) for seed in range(200)]
    assert {child.reset for child in again} == {False, True}
    assert all(replace(child, reset=False) == THREE for child in again if child.reset)


def test_inserted_convolutions_have_the_channels_before_them() -> None:
    found = {
        (place, graph.vertices[place].edge, graph.vertices[place].activated)
        for graph in children("insert_convolution")
        if graph
        for place in range(4)
        if graph.vertices[place].identity == 1  # the first that is free
    }
    channels = (3, 8, 8, 6)
    assert found == {
        (place, Convolution(3, 3, stride, channels[place]), activated)
        for place in range(4)
        for stride in (1, 2)
        for activated in (False, True)
    }
    for graph in children("insert_convolution"):
        assert graph is not None
        assert tuple(v for v in graph.vertices if v.identity != 1) == THREE.vertices


def test_one_to_one_vertices_are_inserted_anywhere() -> None:
    assert children("insert_one_to_one") == {
        replace(THREE, vertices=(*THREE.vertices[:p], Vertex(1, None, activated), *THREE.vertices[p:]))
        for p in range(4)
        for activated in (False, True)
    }


def test_edges_out_of_a_removed_convolution_start_before_it() -> None:
    one, two, last = THREE.vertices
    assert children("remove_convolution") == {
        replace(THREE, vertices=(one, two)),
        replace(THREE, vertices=(two, replace(last, skips=frozenset({IMAGE})))),
    }
    chain = replace(THREE, vertices=(one, Vertex(0, CONV), replace(last, skips=frozenset({0}))))
    assert replace(THREE, vertices=(one, replace(last, skips=frozenset({4})))) in children(
        "remove_convolution", chain
    )


def test_strides_are_halved_and_doubled() -> None:
    first, last = CONV, THREE.vertices[2].edge
    assert last is not None
    assert children("alter_stride") == {
        with_first(replace(first, stride=2)),
        with_last(replace(last, stride=1)),
        with_last(replace(last, stride=4)),
    }


def test_channels_are_halved_up_to_doubled() -> None:
    found = children("alter_channels", count=1000)
    firsts = {with_first(replace(CONV, channels=c)) for c in range(4, 16) if c != 8}  # 15 is the limit
    lasts = {with_last(Convolution(5, 1, 2, c)) for c in range(3, 13) if c != 6}
    assert found == firsts | lasts


def test_filters_change_in_one_direction_and_stay_odd() -> None:
    found = children("alter_filter_size", count=1000)
    tall = {with_first(replace(CONV, height=size)) for size in (1, 5, 7)}
    wide = {with_first(replace(CONV, width=size)) for size in (1, 5, 7)}
    assert found == tall | wide | {
        with_last(Convolution(3, 1, 2, 6)),
        with_last(Convolution(7, 1, 2, 6)),
        with_last(Convolution(5, 3, 2, 6)),
    }


def test_skips_are_added_and_removed_one_by_one() -> None:
    assert children("remove_skip") == {with_last(skips=frozenset({4})), with_last(skips=frozenset({IMAGE}))}
    one, two, last = THREE.vertices
    assert children("add_skip") == {
        with_last(skips=frozenset({IMAGE, 4, 0})),
        replace(THREE, vertices=(replace(one, skips=frozenset({IMAGE})), two, last)),
        *(replace(THREE, vertices=(one, replace(two, skips=frozenset({s})), last)) for s in (IMAGE, 4)),
    }


def test_where_there_is_nothing_to_change_another_mutation_is_drawn() -> None:
    empty = GraphArchitecture(0)
    possible = {name for name, mutation in MUTATIONS.items() if mutation(empty, GraphLimits(), Random(1))}
    growing = {"insert_convolution", "insert_one_to_one"}
    assert len(MUTATIONS) == 11
    assert possible == {"alter_learning_rate", "identity", "reset_weights"} | growing
    full = GraphLimits(vertices=3)
    assert {name for name in growing if MUTATIONS[name](THREE, full, Random(1))} == set()
    assert MUTATIONS["alter_learning_rate"](empty, GraphLimits(lr_octaves=0), Random(1)) is None
    mutated = [mutate_graph(empty, GraphLimits(), Random(seed)) for seed in range(400)]
    assert 60 < sum(graph == empty for graph in mutated) < 100  # identity: one of five, not of eleven


def test_all_eleven_are_equally_likely(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = dict.fromkeys(MUTATIONS, 0)
    for name in counts:

        def counting(*_: object, name: str = name) -> GraphArchitecture:
            counts[name] += 1
            return THREE

        monkeypatch.setitem(MUTATIONS, name, counting)
    for seed in range(2200):
        mutate_graph(THREE, GraphLimits(), Random(seed))
    assert all(150 < count < 250 for count in counts.values())
