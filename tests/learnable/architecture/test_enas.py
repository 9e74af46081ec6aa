"""ENAS's spaces: their questions, texts and mutations; every architecture as a sub-graph of one network."""

import math
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import conv2d

from enas_helpers import MACRO, MICRO, SHAPE, images, supernet_of
from fphi.errors import FphiError
from fphi.learnable.architecture import EnasMacroSpace, EnasMicroSpace, SharingSpace, inherit
from fphi.learnable.architecture.enas_macro_network import survivors
from fphi.learnable.architecture.enas_micro_network import MicroCell, MicroLink, loose_ends
from fphi.learnable.space import Tokens
from fphi.networks.operations import batch_statistics

SPACES = [MICRO, MACRO, EnasMicroSpace(layers=3, channels=2), EnasMacroSpace(layers=1, channels=2)]
SPACES += [EnasMicroSpace(layers=3, channels=1), EnasMacroSpace(layers=3, channels=1)]
BOTH = pytest.mark.parametrize("space", [MICRO, MACRO], ids=lambda s: s.name)


# The spaces.


def test_the_micro_space_asks_forty_questions() -> None:
    decisions = EnasMicroSpace().decisions
    assert len(decisions) == 40
    assert [d.choices for d in decisions[:20]] == [n for states in range(2, 7) for n in (states, 5) * 2]
    assert [d.choices for d in decisions[20:]] == [d.choices for d in decisions[:20]]
    # An index points at the states before it: a controller can answer it by attention.
    assert decisions[4].about == (0, 1, 2)
    assert {d.part for d in decisions[:20]}.isdisjoint(d.part for d in decisions[20:])
    assert EnasMicroSpace().size == (math.factorial(6) ** 2 * 5**10) ** 2


def test_the_macro_space_asks_for_branches_and_connections() -> None:
    space = EnasMacroSpace(layers=12)
    assert space.size == 6**12 * 2**66  # the paper's count
    assert [d.is_connection for d in space.decisions[:6]] == [False, False, True, False, True, True]
    assert [d.about for d in space.decisions[4:6]] == [(0,), (1,)]


@pytest.mark.parametrize("space", SPACES, ids=str)
@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10**6))
def test_texts_and_mutations(space: SharingSpace, seed: int) -> None:
    rng = Random(seed)
    tokens = space.sample(rng)
    assert space.parse(space.text(tokens)) == tokens
    other = space.check(space.mutate(tokens, rng))
    assert sum(a != b for a, b in zip(tokens, other, strict=True)) == 1
    for graph in space.graphs(tokens):
        assert all(edge.start < edge.end < len(graph.nodes) for edge in graph.edges)
        ends = {edge.start for edge in graph.edges}
        # Whatever is computed is used in the end, but for the inputs of a cell.
        assert set(range(2 if isinstance(space, EnasMicroSpace) else 0, len(graph.nodes) - 1)) <= ends


@BOTH
@pytest.mark.parametrize("text", ["", "normal", "conv_3x3 | +0", "identity(9)+identity(0)"])
def test_what_is_no_architecture_is_refused(space: SharingSpace, text: str) -> None:
    with pytest.raises(FphiError, match="one looks like"):
        space.parse(text)


# Sub-graphs.


@pytest.mark.parametrize("space", SPACES, ids=str)
@settings(deadline=None, max_examples=4)
@given(seed=st.integers(0, 10**6))
def test_a_child_computes_exactly_its_part_of_the_supernet(space: SharingSpace, seed: int) -> None:
    supernet = supernet_of(space, seed).eval()
    tokens = space.sample(Random(seed))
    child = space.standalone(tokens, SHAPE, 4, batch_statistics).eval()
    inherit(child, supernet.state_dict())
    x = images(seed=seed)
    assert torch.equal(child(x), supernet(x, tokens))
    # All its parameters are the supernet's, and it has no others.
    assert set(child.state_dict()) <= set(supernet.state_dict())
    child(x).square().sum().backward()
    used = {name for name, p in child.named_parameters() if p.grad is not None}
    supernet(x, tokens).square().sum().backward()
    assert used == {name for name, p in supernet.named_parameters() if p.grad is not None}


@BOTH
def test_what_is_built_for_training_computes_the_same_from_the_same_weights(space: SharingSpace) -> None:
    supernet, tokens = supernet_of(space), space.sample(Random(1))
    network = space.build(tokens, SHAPE, 4).train()
    inherit(network, supernet.state_dict())
    for module in (supernet, network):
        module.get_submodule("network.head.0").eval()  # dropout
    torch.testing.assert_close(network(images()), supernet(images(), tokens))


@BOTH
def test_children_that_share_a_part_share_its_tensors(space: SharingSpace) -> None:
    supernet = supernet_of(space)
    rest = space.sample(Random(0))
    # Two kinds of convolution in the first place that asks for an operation: all the rest is common.
    place = [decision.name for decision in space.decisions].index("operation")
    one, other = ((*rest[:place], kind, *rest[place + 1 :]) for kind in (0, 1))

    def reached(tokens: Tokens) -> dict[str, int]:
        supernet.zero_grad(set_to_none=True)
        supernet(images(), tokens).sum().backward()
        return {n: p.data_ptr() for n, p in supernet.named_parameters() if p.grad is not None}

    common = reached(one).items() & reached(other).items()
    assert {name for name, _ in common} == set(reached(one)) & set(reached(other))
    assert len(common) > len(reached(one)) / 2
    assert reached(one) != reached(other)


def test_loose_ends_are_convolved_as_their_concatenation() -> None:
    links = tuple(MicroLink(*link) for link in ((2, 0, 0, "identity"), (2, 1, 1, "identity"),
                                          (3, 0, 0, "identity"), (3, 1, 1, "max_pool_3x3"),
                                          (4, 0, 3, "identity"), (4, 1, 3, "identity")))  # fmt: skip
    assert loose_ends(links) == [2, 4]
    cell = MicroCell(links, [2, 4], (3, 3), 3, (1, 1), False, batch_statistics)
    older, newer = torch.randn(2, 2, 3, 5, 5)
    third = older + cell.links["3y_1_max_pool_3x3"](newer)
    concatenated = torch.cat([older + newer, 2 * third], 1).relu()
    weight = torch.cat([cell.get_parameter(f"loose.{node}.weight") for node in (2, 4)], 1)
    torch.testing.assert_close(cell(older, newer, links), cell.norm(conv2d(concatenated, weight)))


def test_a_reduction_halves_once_and_doubles_the_channels() -> None:
    space = EnasMicroSpace(layers=3, channels=4)
    network = space.build(space.sample(Random(0)), (3, 32, 32), 10)
    sizes: list[tuple[int, ...]] = []
    for cell in network.get_submodule("network.cells").children():
        cell.register_forward_hook(lambda *a: sizes.append(tuple(a[2].shape[1:])))
    network(torch.randn(2, 3, 32, 32))
    assert sizes == [(4, 32, 32), (8, 16, 16), (8, 16, 16), (16, 8, 8), (16, 8, 8)]


def test_macro_layers_are_halved_only_where_they_are_needed_later() -> None:
    space = EnasMacroSpace(layers=6)
    tokens = (0, *(0, 0), *(0, 0, 0), *(0, 1, 0, 0), *(0, 0, 0, 0, 0), *(0, 0, 0, 1, 0, 0))
    # Layer 4 takes the stem, layer 6 takes layer 2; everything is halved before layers 3 and 5.
    assert survivors(space.parts(space.check(tokens))) == {3: [0, 2], 5: [2, 4]}
