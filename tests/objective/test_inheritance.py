"""Inherited weights: what keeps its name and shape is bit-equal, and what only grows keeps the function."""

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fphi.learnable.architecture import ArchitectureSpace, GraphSpace, NASBench201Space, inherit
from fphi.learnable.architecture.graph_architecture import (
    IMAGE,
    Convolution,
    GraphArchitecture,
    GraphLimits,
    Vertex,
)
from fphi.learnable.architecture.graph_mutations import MUTATIONS
from fphi.learnable.space import Candidate, Tokens
from fphi.objective.candidate_loss import TrainAndTest
from fphi.run.disk.files import read_sealed
from fphi.run.search.weights import WeightFolder
from fphi.within.training import NetworkTraining
from search_fakes import blobs

SPACE = GraphSpace(vertices=8, most_channels=12)
SHAPE = (3, 9, 8)
PARENT = GraphArchitecture(
    16,
    (
        Vertex(4, Convolution(3, 3, 1, 8), True),
        Vertex(0, None, True, frozenset({IMAGE})),
        Vertex(2, Convolution(5, 1, 2, 6), False, frozenset({IMAGE, 4})),
    ),
)
FIRST = {f"vertices.4.{name}" for name in ("convolution.weight", *(f"norm.{n}" for n in (
    "weight", "bias", "running_mean", "running_var", "num_batches_tracked")))}  # fmt: skip
LAST = {"vertices.2.convolution.weight", "vertices.2.convolution.bias"}
HEAD = {"head.weight", "head.bias"}


def state_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def trained(graph: GraphArchitecture, seed: int = 0) -> nn.Module:
    """With weights and running statistics that no new network has."""
    torch.manual_seed(seed)
    network = SPACE.build(SPACE.tokens(graph), SHAPE, 4)
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.add_(torch.rand_like(tensor))
    network(torch.randn(6, *SHAPE))
    return network


def child_of(parent: nn.Module, graph: GraphArchitecture) -> tuple[nn.Module, set[str]]:
    torch.manual_seed(99)
    child = SPACE.build(SPACE.tokens(graph), SHAPE, 4)
    return child, set(inherit(child, parent.state_dict()))


def require_same_function(one: nn.Module, other: nn.Module) -> None:
    """Bit-equal, with the statistics of the batch and with those that were kept."""
    x = torch.randn(5, *SHAPE)
    for training in (False, True):
        assert torch.equal(one.train(training)(x), other.train(training)(x))


def mutated(name: str, seed: int, graph: GraphArchitecture = PARENT) -> GraphArchitecture:
    child = MUTATIONS[name](graph, GraphLimits(vertices=8, most_channels=12, first_channels=3), Random(seed))
    assert child is not None
    return child


@pytest.mark.parametrize("space", [SPACE, NASBench201Space()], ids=lambda space: space.name)
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6))
def test_what_keeps_name_and_shape_is_bit_equal_and_the_rest_is_new(
    space: ArchitectureSpace, seed: int
) -> None:
    rng = Random(seed)
    tokens = space.start(rng)
    for _ in range(rng.randrange(12)):
        tokens = space.mutate(tokens, rng)
    try:
        parent = state_of(space.build(tokens, SHAPE, 4))
        child = space.build(space.mutate(tokens, rng), SHAPE, 4)
    except NotImplementedError:
        pytest.skip(f"{space.name} builds no networks yet")
    before = state_of(child)
    names = inherit(child, parent)
    after = child.state_dict()
    assert names == [n for n in before if n in parent and parent[n].shape == before[n].shape]
    assert all(torch.equal(after[n], parent[n] if n in names else before[n]) for n in before)
    assert all(tensor.requires_grad for tensor in child.parameters())


def test_another_type_is_not_inherited() -> None:
    child = nn.Linear(2, 2)
    weight, bias = torch.ones(2, 2, dtype=torch.float64), torch.ones(2)
    assert inherit(child, {"weight": weight, "bias": bias, "other": bias}) == ["bias"]
    assert torch.equal(child.bias, bias)


def test_layers_keep_their_weights_when_others_come_and_go() -> None:
    parent = trained(PARENT)
    everything = set(parent.state_dict())
    assert everything == FIRST | LAST | HEAD | {n.replace("4", "0") for n in FIRST if "norm" in n}
    for name in (
        "identity",
        "alter_learning_rate",
        "alter_stride",
        "add_skip",
        "remove_skip",
        "insert_one_to_one",
    ):
        for seed in range(20):
            assert child_of(parent, mutated(name, seed))[1] == everything, name
    for seed in range(20):
        inserted = mutated("insert_convolution", seed)
        assert child_of(parent, inserted)[1] == everything
        _, names = child_of(parent, mutated("alter_filter_size", seed))
        assert everything - names in ({"vertices.4.convolution.weight"}, {"vertices.2.convolution.weight"})


def test_what_touches_other_shapes_is_new() -> None:
    parent = trained(PARENT)
    everything = set(parent.state_dict())
    one, two, last = PARENT.vertices
    wider = replace(PARENT, vertices=(replace(one, edge=Convolution(3, 3, 1, 9)), two, last))
    # The counts of batches have no shape to lose; the last convolution has other inputs, but its bias stays.
    kept = (
        {n for n in everything if n.endswith("num_batches_tracked")} | HEAD | {"vertices.2.convolution.bias"}
    )
    assert child_of(parent, wider)[1] == kept
    without_last = replace(PARENT, vertices=(one, two))
    assert child_of(parent, without_last)[1] == everything - LAST - {"head.weight"}


def test_a_new_layer_takes_no_name_of_the_parent() -> None:
    for seed in range(40):
        for name in ("insert_convolution", "insert_one_to_one"):
            (new,) = set(mutated(name, seed).identities) - set(PARENT.identities)
            assert new == 1


@pytest.mark.parametrize("name", ["identity", "alter_learning_rate", "insert_one_to_one"])
def test_these_mutations_keep_the_function_exactly(name: str) -> None:
    parent = trained(PARENT)
    kept = 0
    for seed in range(12):
        graph = mutated(name, seed)
        if any(vertex.identity == 1 and vertex.activated for vertex in graph.vertices):
            continue  # ReLU cuts off, so this one starts as another function
        require_same_function(parent, child_of(parent, graph)[0])
        kept += 1
    assert kept >= 3


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6))
def test_they_do_so_whatever_the_parent(seed: int) -> None:
    rng = Random(seed)
    tokens: Tokens = SPACE.start(rng)
    for _ in range(20):
        tokens = SPACE.mutate(tokens, rng)
    graph = SPACE.architecture(tokens)
    parent = trained(graph, seed)
    require_same_function(parent, child_of(parent, graph)[0])
    if len(graph.vertices) == SPACE.vertices:
        return
    number = next(i for i in range(8) if i not in graph.identities)
    place = rng.randrange(len(graph.vertices) + 1)
    grown = replace(graph, vertices=(*graph.vertices[:place], Vertex(number), *graph.vertices[place:]))
    require_same_function(parent, child_of(parent, grown)[0])


def test_others_change_it() -> None:
    parent = trained(PARENT).eval()
    x = torch.randn(5, *SHAPE)
    for name in ("add_skip", "remove_skip", "alter_stride", "insert_convolution"):
        child = child_of(parent, mutated(name, 0))[0].eval()
        assert not torch.allclose(child(x), parent(x)), name


def test_trained_children_start_where_their_parents_ended(tmp_path: Path) -> None:
    """With a learning rate so small that nothing changes, identity children keep their parents' accuracy."""
    space = GraphSpace(first_lr=1e-30, lr_octaves=0)
    data = blobs()
    weights = WeightFolder(tmp_path)
    evaluate = TrainAndTest(space, data, NetworkTraining(epochs=1, weight_decay=0.0), weights)
    tokens = space.parse("lr 1e-30; 3 conv 3x3/2 4; 1 one-to-one +image")
    first = evaluate(Candidate(5, tokens))
    state, _ = read_sealed(weights.file(5))
    size = sum(tensor.numel() for tensor in state.values())
    assert first.failure == ""
    assert first.measures["inherited"] == 0
    again = evaluate(Candidate(6, tokens, parent=5))
    assert again.measures["inherited"] == size
    assert (again.loss, again.measures["test_accuracy"]) == (first.loss, first.measures["test_accuracy"])
    same, _ = read_sealed(weights.file(6))
    assert all(torch.equal(same[name], state[name]) for name in state)
    fresh = evaluate(
        Candidate(7, space.parse("lr 1e-30; new weights; 3 conv 3x3/2 4; 1 one-to-one +image"), 6)
    )
    assert fresh.measures["inherited"] == 0
    orphan = evaluate(Candidate(8, tokens, parent=1))
    assert (orphan.failure, orphan.measures["inherited"]) == ("", 0)


def test_the_learning_rate_is_the_architecture_s(tmp_path: Path) -> None:
    """One step from the same weights on all the data: the changes are as the rates."""
    space, data = GraphSpace(first_lr=0.01), blobs(train=48)
    plain = NetworkTraining(1, 48, momentum=0, weight_decay=0.0, schedule="constant", clip_norm=None)
    weights = WeightFolder(tmp_path)
    evaluate = TrainAndTest(space, data, plain, weights)
    for number, (rate, parent) in enumerate([(16, None), (16, 0), (20, 0)]):
        evaluate(Candidate(number, space.tokens(GraphArchitecture(rate)), parent))
    start, once, twice = (read_sealed(weights.file(n))[0]["head.weight"] for n in range(3))
    torch.testing.assert_close(twice - start, 2 * (once - start), rtol=1e-3, atol=1e-7)
    assert (once - start).abs().max() > 1e-4
