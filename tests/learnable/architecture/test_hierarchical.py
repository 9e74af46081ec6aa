"""Hierarchical motifs: flat and nested graphs compute the same, a mutation changes every use of a motif."""

from collections import Counter
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.learnable.architecture import SPACES, HierarchicalSpace
from fphi.learnable.space import Tokens
from fphi.networks.batch_norm import BatchNorm
from fphi.networks.motifs import Arrow, Motif, MotifGraph, MotifNetwork, flatten

SPACE = HierarchicalSpace(channels=2)
DEEP = HierarchicalSpace(motifs=(3, 2), nodes=(3, 3, 4), channels=2)
FLAT = HierarchicalSpace(motifs=(), nodes=(6,), channels=2)
ALL = pytest.mark.parametrize("space", [SPACE, DEEP, FLAT], ids=["paper", "deep", "flat"])
SHAPE = (1, 8, 9)
EDGES = [(start, end) for end in range(1, 5) for start in range(end)]  # of the cell
random_seeds = given(seed=st.integers(0, 10**6))


def images(channels: int = 3) -> Tensor:
    return torch.randn(4, channels, 6, 7, generator=torch.Generator().manual_seed(0))


def with_weights(graph: MotifGraph, other: MotifGraph, names: dict[str, str]) -> MotifGraph:
    """The graph with the weights of another one's modules, by the names of both."""
    for own, others in names.items():
        graph.get_submodule(own).load_state_dict(other.get_submodule(others).state_dict())
    return graph


def different(one: Tokens, other: Tokens) -> list[int]:
    return [i for i, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]


# The space.


def test_six_motifs_of_four_nodes_and_a_cell_of_five() -> None:
    decisions = SPACE.decisions
    assert len(decisions) == 6 * 6 + 10
    assert {d.choices for d in decisions} == {7}  # none and six operations; none and six motifs
    assert Counter(d.name for d in decisions) == {"level 2": 36, "level 3": 10}
    assert len({d.part for d in decisions}) == 6 * 3 + 4  # the nodes that something leads to
    assert SPACES["hierarchical"] is HierarchicalSpace


@ALL
@random_seeds
@settings(deadline=None, max_examples=20)
def test_texts_there_and_back(space: HierarchicalSpace, seed: int) -> None:
    tokens = space.check(space.sample(Random(seed)))
    assert space.parse(space.text(tokens)) == tokens
    assert space.connected(tokens)


@pytest.mark.parametrize("text", ["", "2.1: identity", SPACE.text((0,) * 46).replace("none", "some")])
def test_what_is_no_architecture_is_refused(text: str) -> None:
    with pytest.raises(FphiError, match="one looks like"):
        SPACE.parse(text)


@ALL
@random_seeds
@settings(deadline=None, max_examples=30)
def test_connected_is_what_something_passes(space: HierarchicalSpace, seed: int) -> None:
    rng = Random(seed)
    tokens = tuple(rng.choice([0, 0, 0, token]) for token in space.sample(rng))
    assert space.connected(tokens) == bool(space.motif(tokens).pruned().arrows)


@ALL
def test_a_search_starts_with_what_does_nothing_and_was_mutated(space: HierarchicalSpace) -> None:
    idle = HierarchicalSpace(motifs=space.motifs, nodes=space.nodes, diversify=0).start(Random(0))
    graph = MotifGraph(space.motif(idle), 3)
    assert not list(graph.parameters())
    assert torch.equal(graph(images()), images())
    started = [space.start(Random(seed)) for seed in range(20)]
    assert len(set(started)) == 20
    assert all(space.connected(space.check(tokens)) for tokens in started)
    # A thousand mutations leave little of the chains: every answer occurs about as often.
    if space is SPACE:
        answers = Counter(token for tokens in started for token in tokens[:36])
        assert all(abs(answers[answer] / (20 * 36) - 1 / 7) < 0.06 for answer in range(7))


@ALL
@random_seeds
@settings(deadline=None, max_examples=20)
def test_a_mutation_changes_one_edge_of_one_motif(space: HierarchicalSpace, seed: int) -> None:
    rng = Random(seed)
    tokens = space.sample(rng)
    mutated = space.check(space.mutate(tokens, rng))
    assert len(different(tokens, mutated)) == 1
    assert space.connected(mutated)


@random_seeds
@settings(deadline=None, max_examples=25)
def test_a_mutated_motif_is_another_wherever_it_is_used(seed: int) -> None:
    rng = Random(seed)
    tokens = SPACE.sample(rng)
    mutated = SPACE.mutate(tokens, rng)
    [place] = different(tokens, mutated)
    before, after = ({a[:2]: a.content for a in SPACE.motif(t).arrows} for t in (tokens, mutated))
    for edge, answer in zip(EDGES, tokens[36:], strict=True):
        touched = place == 36 + EDGES.index(edge) if place >= 36 else place // 6 == answer - 1
        assert (before.get(edge) != after.get(edge)) == touched or place >= 36  # two motifs may be equal
        if place < 36 and touched:
            one, other = before[edge], after[edge]
            assert isinstance(one, Motif)
            assert isinstance(other, Motif)
            assert len(set(one.arrows) ^ set(other.arrows)) in (1, 2)  # added or removed, replaced


def test_levels_motifs_nodes_are_mutated_equally_often() -> None:
    rng, tokens, draws = Random(0), SPACE.sample(Random(1)), 6000
    places = Counter(different(tokens, SPACE.mutate(tokens, rng))[0] for _ in range(draws))
    cell = {edge: places[36 + i] / draws for i, edge in enumerate(EDGES)}
    assert abs(sum(cell.values()) - 1 / 2) < 0.03
    for end in range(1, 5):  # each node of the cell, then each one before it
        assert abs(sum(cell[start, end] for start in range(end)) - 1 / 8) < 0.025
        assert all(abs(cell[start, end] - 1 / 8 / end) < 0.025 for start in range(end))
    for motif in range(6):
        assert abs(sum(places[6 * motif + i] for i in range(6)) / draws - 1 / 12) < 0.02


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"motifs": (6, 6)}, "one number of nodes"),
        ({"nodes": (4, 1)}, "at least 2"),
        ({"operations": ("conv_1x1", "conv_3x3")}, "identity"),
        ({"operations": ("identity",)}, "one or more others"),
        ({"operations": ("identity", "none")}, "each once, of"),
        ({"channels": 0}, "channels=0"),
        ({"diversify": -1}, "diversify=-1"),
    ],
)
def test_options_without_motifs_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(FphiError, match=message):
        HierarchicalSpace(**options)  # type: ignore[arg-type]


# Graphs.


@ALL
@random_seeds
@settings(deadline=None, max_examples=12)
def test_the_flat_graph_computes_the_same(space: HierarchicalSpace, seed: int) -> None:
    torch.manual_seed(seed)
    tokens = space.sample(Random(seed))
    flat, names = flatten(space.motif(tokens))
    assert flat == space.flat(tokens)
    assert all(isinstance(a.content, str) and a.start < a.end < flat.size for a in flat.arrows)
    nested = MotifGraph(space.motif(tokens), 3)
    one = with_weights(MotifGraph(flat, 3), nested, names)
    assert torch.equal(one(images()), nested(images()))
    # Every weight has its counterpart.
    assert sorted(p.shape for p in one.parameters()) == sorted(p.shape for p in nested.parameters())
    assert {id(p) for name in names.values() for p in nested.get_submodule(name).parameters()} == {
        id(p) for p in nested.parameters()
    }


@random_seeds
@settings(deadline=None, max_examples=10)
def test_motifs_of_one_edge_are_a_flat_search(seed: int) -> None:
    """Motif k leads by operation k from its input to its output: the cell is one of operations."""
    hierarchical = HierarchicalSpace(motifs=(6,), nodes=(2, 5))
    flat = HierarchicalSpace(motifs=(), nodes=(5,))
    tokens = flat.sample(Random(seed))
    nested = MotifGraph(hierarchical.motif((1, 2, 3, 4, 5, 6, *tokens)), 3)
    one = MotifGraph(flat.motif(tokens), 3)
    names = {f"arrows.{name}": f"arrows.{name}.arrows.0_1" for name in one.arrows}
    names |= {f"merges.{name}": f"merges.{name}" for name in one.merges}
    assert torch.equal(with_weights(one, nested, names)(images()), nested(images()))
    # It is as flat as it can be: only nodes that are on no path are left out.
    assert Counter(a.content for a in flat.flat(tokens).arrows) == Counter(
        a.content for a in flat.motif(tokens).pruned().arrows
    )


def test_a_node_concatenates_and_goes_back_to_its_channels() -> None:
    motif = Motif(3, (Arrow(0, 1, "max_pool_3x3"), Arrow(0, 2, "identity"), Arrow(1, 2, "identity")))
    graph = MotifGraph(motif, 3).eval()
    assert set(graph.merges) == {"2"}
    x = images()
    first = graph.arrows["0_1"](x)
    assert torch.equal(graph(x), graph.merges["2"](torch.cat([x, first], 1)))
    assert graph.merges["2"][1].weight.shape == (3, 6, 1, 1)  # type: ignore[index]


def test_what_leads_nowhere_is_left_out() -> None:
    nothing = Motif(3, (Arrow(0, 1, "conv_1x1"),))  # its output has no input
    motif = Motif(
        4, (Arrow(0, 1, "conv_1x1"), Arrow(1, 2, "conv_3x3"), Arrow(1, 3, "identity"), Arrow(0, 3, nothing))
    )
    assert motif.pruned().arrows == (Arrow(0, 1, "conv_1x1"), Arrow(1, 3, "identity"))
    assert torch.equal(MotifGraph(nothing, 3)(images()), torch.zeros_like(images()))
    assert flatten(nothing)[0].arrows == ()


def test_every_use_of_a_motif_has_its_own_weights() -> None:
    motif = Motif(2, (Arrow(0, 1, "conv_1x1"),))
    graph = MotifGraph(Motif(3, (Arrow(0, 1, motif), Arrow(1, 2, motif))), 3)
    assert sum(isinstance(m, nn.Conv2d) for m in graph.modules()) == 2


# The networks.


@ALL
@random_seeds
@settings(deadline=None, max_examples=6)
def test_networks_run_forward_and_backward(space: HierarchicalSpace, seed: int) -> None:
    torch.manual_seed(seed)
    network = space.build(space.sample(Random(seed)), SHAPE, 3)
    network(torch.randn(4, *SHAPE)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_stages_halve_the_size_and_double_the_channels() -> None:
    space = HierarchicalSpace(channels=2, cells=2)
    network = space.build(space.sample(Random(0)), (3, 13, 8), 5)
    sizes: list[tuple[int, ...]] = []
    for module in network.body:
        if isinstance(module, MotifGraph):
            module.register_forward_hook(lambda *a: sizes.append(tuple(a[2].shape[1:])))
    assert network(torch.randn(2, 3, 13, 8)).shape == (2, 5)
    assert sizes == [(2, 13, 8)] * 2 + [(4, 7, 4)] * 2 + [(8, 4, 2)] * 2
    with pytest.raises(FphiError, match="channels=0"):
        MotifNetwork(Motif(2, ()), SHAPE, 2, channels=0)


def test_features_have_no_head_and_any_normalisation() -> None:
    network = SPACE.network(SPACE.sample(Random(0)), SHAPE, None, norm=BatchNorm)
    assert network(torch.randn(3, *SHAPE)).shape == (3, network.feature_size)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in network.modules())


def test_drawings_are_the_cell_and_its_motifs() -> None:
    space = HierarchicalSpace(motifs=(2,), nodes=(3, 3))
    cell, second, first = space.graphs((6, 1, 0, 0, 0, 4, 1, 0, 2))
    assert (cell.title, second.title, first.title) == ("cell", "motif 2.2", "motif 2.1")
    assert [(e.start, e.end, e.label) for e in cell.edges] == [(0, 1, "2.1"), (1, 2, "2.2")]
    assert [(e.start, e.end, e.label) for e in first.edges] == [(0, 1, "identity"), (0, 2, "conv_1x1")]
    assert [(e.start, e.end, e.label) for e in second.edges] == [(1, 2, "max_pool_3x3")]
