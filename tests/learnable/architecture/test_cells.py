"""NASNet: cells are graphs from the two cells before, mutations change one thing, the controller learns."""

from collections import Counter
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fphi.errors import FphiError
from fphi.learnable.architecture import SPACES, AmoebaNetSpace, CellSpace
from fphi.learnable.architecture.cells import AMOEBANET_OPERATIONS
from fphi.learnable.space import Tokens
from fphi.methods.nasnet import NASNet
from fphi.methods.regularized_evolution import RegularizedEvolution
from fphi.networks.cells import INPUTS

SMALL = CellSpace(blocks=3, channels=2)
ADDING = CellSpace(operations=AMOEBANET_OPERATIONS, combinations=("add",), channels=2)
SPACES_OF_CELLS = pytest.mark.parametrize("space", [CellSpace(), SMALL, ADDING, CellSpace(blocks=1)], ids=str)
random_seeds = given(seed=st.integers(0, 10**6))

# The space.


def test_five_blocks_of_two_cells_are_fifty_questions() -> None:
    decisions = CellSpace().decisions
    assert len(decisions) == 50
    assert [d.choices for d in decisions[:25]] == [n for s in range(2, 7) for n in (s, s, 13, 13, 2)]
    assert [d.choices for d in decisions[25:]] == [d.choices for d in decisions[:25]]
    # A softmax of its own for each.
    assert len({d.name for d in decisions}) == 50
    assert not {d.part for d in decisions[:25]} & {d.part for d in decisions[25:]}
    assert len(ADDING.decisions) == 40
    assert SPACES["cells"] is CellSpace


@SPACES_OF_CELLS
@random_seeds
@settings(deadline=None, max_examples=20)
def test_cells_are_graphs_from_the_two_cells_before(space: CellSpace, seed: int) -> None:
    tokens = space.sample(Random(seed))
    for plan, graph in zip(space.plans(tokens), space.graphs(tokens), strict=True):
        plan.check()
        assert len(plan.nodes) == space.blocks
        used = {link.source for node in plan.nodes for link in node.links}
        # Every state is either taken by a block or part of the output, and none is both.
        assert used | set(plan.outputs) == set(range(INPUTS + space.blocks))
        assert not used & set(plan.outputs)
        assert INPUTS + space.blocks - 1 in plan.outputs
        assert all(edge.start < edge.end < len(graph.nodes) for edge in graph.edges)
        assert {edge.start for edge in graph.edges} == set(range(len(graph.nodes) - 1))
        assert {edge.end for edge in graph.edges} == set(range(INPUTS, len(graph.nodes)))
        assert sum(plan.operations.values()) == 2 * space.blocks


@SPACES_OF_CELLS
@random_seeds
@settings(deadline=None, max_examples=20)
def test_texts_there_and_back(space: CellSpace, seed: int) -> None:
    tokens = space.sample(Random(seed))
    assert space.parse(space.text(tokens)) == tokens


@pytest.mark.parametrize(
    "text", ["", "normal reduction", "normal identity(0)+conv_9x9(1) reduction identity(0)+none(1)"]
)
def test_what_is_no_cell_is_refused(text: str) -> None:
    with pytest.raises(FphiError, match="one looks like"):
        CellSpace(blocks=1).parse(text)
    with pytest.raises(FphiError, match="no answer"):  # a state that is not there yet
        CellSpace(blocks=1).parse("normal identity(0)+identity(2) reduction identity(0)+identity(1)")


@SPACES_OF_CELLS
@random_seeds
@settings(deadline=None, max_examples=20)
def test_a_mutation_changes_one_answer(space: CellSpace, seed: int) -> None:
    rng = Random(seed)
    tokens = space.sample(rng)
    mutated = space.check(space.mutate(tokens, rng))
    assert sum(a != b for a, b in zip(tokens, mutated, strict=True)) == 1


def test_inputs_operations_and_combinations_are_changed_equally_often() -> None:
    rng, space = Random(0), CellSpace()
    tokens = space.sample(rng)
    places: Counter[int] = Counter()
    for _ in range(6000):
        mutated = space.mutate(tokens, rng)
        places[next(i for i in range(50) if tokens[i] != mutated[i])] += 1
    kinds = [sum(n for place, n in places.items() if place % 5 in kind) for kind in ((0, 1), (2, 3), (4,))]
    assert all(abs(kind / 6000 - 1 / 3) < 0.025 for kind in kinds)
    blocks = [sum(places[5 * block + i] for i in range(5)) for block in range(10)]
    assert all(abs(block / 6000 - 1 / 10) < 0.02 for block in blocks)


def test_a_mutation_may_train_the_parent_once_more() -> None:
    rng, space = Random(0), CellSpace(unchanged=0.3)
    tokens = space.sample(rng)
    same = sum(space.mutate(tokens, rng) == tokens for _ in range(3000))
    assert abs(same / 3000 - 0.3) < 0.03


def test_regularized_evolution_searches_its_paper_s_space_with_its_mutations() -> None:
    """Identity with .05; else half the time a hidden state, half the time an operation; cells, blocks, arms alike."""
    space = SPACES[RegularizedEvolution.usual_space]()
    assert isinstance(space, AmoebaNetSpace)
    # Five blocks of two cells, each of two hidden states and two of eight operations.
    assert [d.choices for d in space.decisions[:20]] == [n for s in range(2, 7) for n in (s, s, 8, 8)]
    rng, count = Random(0), 8000
    tokens = space.sample(rng)
    places: Counter[int | None] = Counter()
    values: Counter[int] = Counter()
    for _ in range(count):
        mutated = space.mutate(tokens, rng)
        place = next((i for i in range(40) if tokens[i] != mutated[i]), None)
        places[place] += 1
        if place == 2:
            values[mutated[place]] += 1
    assert abs(places[None] / count - 0.05) < 0.01
    states = sum(n for place, n in places.items() if place is not None and place % 4 < 2)
    assert abs(states / count - 0.95 / 2) < 0.02
    assert all(abs(places[i] / count - 0.95 / 40) < 0.008 for i in range(40))
    assert tokens[2] not in values
    assert len(values) == 7  # the other operations


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"operations": ("conv_3x3", "conv_9x9")}, "conv_9x9"),
        ({"operations": ()}, "one or more"),
        ({"combinations": ("add", "add")}, "each once"),
        ({"blocks": 0}, "blocks=0"),
        ({"cells": 0, "reductions": 0}, "one cell"),
        ({"drop_path": 1.0}, "drop_path=1.0"),
        ({"unchanged": -0.1}, "unchanged=-0.1"),
    ],
)
def test_options_that_make_no_cell_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(FphiError, match=message):
        CellSpace(**options)  # type: ignore[arg-type]


# The method.


def test_nasnet_updates_its_controller_after_each_batch_of_children() -> None:
    optimizer = NASNet(batch=4).optimizer(SMALL, 0)
    before = {name: p.clone() for name, p in optimizer.policy.named_parameters()}

    def moved() -> bool:
        return any(not torch.equal(p, before[name]) for name, p in optimizer.policy.named_parameters())

    for told in range(1, 5):
        candidate = optimizer.ask()
        SMALL.check(candidate.tokens)
        optimizer.tell(candidate, told / 10)
        assert moved() == (told == 4)
    assert optimizer.update.rule == "ppo"
    assert optimizer.standing()["baseline"] == pytest.approx(0.8709875)  # from 0.9 by 0.8, 0.7, 0.6


def test_nasnet_finds_the_cells_that_are_rewarded() -> None:
    """Rewarded is the share of identities, of 13 operations."""
    space = CellSpace(blocks=2, channels=2)
    optimizer = NASNet(lr=0.03, hidden=20).optimizer(space, 0)

    def reward(tokens: Tokens) -> float:
        return sum(plan.operations["identity"] for plan in space.plans(tokens)) / 8

    rewards = []
    for _ in range(120):
        candidate = optimizer.ask()
        rewards.append(reward(candidate.tokens))
        optimizer.tell(candidate, 1 - rewards[-1])
    assert sum(rewards[:40]) / 40 < 0.2
    assert sum(rewards[-40:]) / 40 > 0.4
