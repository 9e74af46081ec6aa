"""Networks of cells: sums and concatenations, reductions, dropped paths, few-shot learners."""

from dataclasses import replace
from functools import partial
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.learnable.architecture import CellSpace
from fphi.learnable.architecture.cells import NASNET_OPERATIONS, cell_graph
from fphi.learnable.initialization.gradient_learner import GradientLearner
from fphi.networks.batch_norm import BatchNorm
from fphi.networks.cells import Cell, CellNetwork, CellPlan, Link, Node
from fphi.networks.drop_path import DropPath
from fphi.networks.operations import FactorizedReduce
from fphi.tasks.types import Examples
from fphi.within.optimizers import sgd

SMALL = CellSpace(blocks=3, channels=2)
SHAPE = (1, 8, 9)
random_seeds = given(seed=st.integers(0, 10**6))

ADD = CellPlan((Node((Link(0, "identity"), Link(1, "identity"))),))
CONCATENATE = CellPlan((Node((Link(0, "identity"), Link(1, "identity")), "concat"),))


def images(n: int = 4, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(0))


def sizes(network: CellNetwork, x: Tensor) -> list[tuple[int, ...]]:
    """Channels, height and width of what each cell gives."""
    found: list[tuple[int, ...]] = []
    for cell in network.body.cells:
        cell.register_forward_hook(lambda *a: found.append(tuple(a[2].shape[1:])))
    network(x)
    return found


@pytest.mark.parametrize("plan", [ADD, CONCATENATE])
def test_a_block_adds_or_concatenates(plan: CellPlan) -> None:
    cell = Cell(plan, (3, 5), 4)
    older, newer = images(2, (3, 6, 6)), images(2, (5, 6, 6))
    parts = [adapt(x) for adapt, x in zip(cell.inputs, (older, newer), strict=True)]
    want = parts[0] + parts[1] if plan is ADD else torch.cat(parts, 1)
    assert torch.equal(cell(older, newer), want)
    assert cell.channels_out == want.shape[1]


def test_what_no_block_takes_is_concatenated() -> None:
    nodes = (
        Node((Link(1, "identity"), Link(1, "identity"))),
        Node((Link(1, "identity"), Link(2, "identity"))),
    )
    outputs = {output: CellPlan(nodes, output).outputs for output in ("all", "loose", "unused")}
    assert outputs == {"all": (2, 3), "loose": (3,), "unused": (0, 3)}
    cell = Cell(CellPlan(nodes, "unused"), (4, 4), 4).eval()
    older, newer = images(2, (4, 6, 6)), images(2, (4, 6, 6))
    first, second = (adapt(x) for adapt, x in zip(cell.inputs, (older, newer), strict=True))
    torch.testing.assert_close(cell(older, newer), torch.cat([first, 3 * second], 1))
    # An input that nothing depends on has no weights.
    assert not list(Cell(CellPlan(nodes, "loose"), (4, 4), 4).inputs[0].parameters())


@random_seeds
@settings(deadline=None, max_examples=12)
def test_networks_run_forward_and_backward(seed: int) -> None:
    torch.manual_seed(seed)
    network = SMALL.build(SMALL.sample(Random(seed)), SHAPE, 3)
    network(images()).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@random_seeds
@settings(deadline=None, max_examples=8)
def test_a_reduction_halves_height_and_width_once(seed: int) -> None:
    space = CellSpace(blocks=2, channels=2, cells=2)
    network = space.build(space.sample(Random(seed)), (3, 13, 8), 3)
    found = [size[1:] for size in sizes(network, images(2, (3, 13, 8)))]
    assert found == [(13, 8)] * 2 + [(7, 4)] * 3 + [(4, 2)] * 3


def test_channels_double_and_the_older_input_is_halved_after_a_reduction() -> None:
    network = CellNetwork(ADD, CONCATENATE, (1, 16, 16), 3, channels=4, cells_per_stage=2, reductions=2)
    assert [size[0] for size in sizes(network, images(2, (1, 16, 16)))] == [4, 4, 16, 8, 8, 32, 16, 16]
    halved = [isinstance(cell.inputs[0], FactorizedReduce) for cell in network.body.cells]  # type: ignore[index]
    assert halved == [False, False, False, True, False, False, True, False]
    assert network.feature_size == 16
    # Reductions one after another: the older input is always twice as large.
    only = CellNetwork(ADD, CONCATENATE, (1, 16, 16), 3, channels=4, cells_per_stage=0, reductions=3)
    assert [size[1] for size in sizes(only, images(2, (1, 16, 16)))] == [8, 4, 2]


def test_what_was_found_small_is_built_large() -> None:
    tokens = SMALL.sample(Random(5))
    large = replace(SMALL, cells=3, channels=5)
    networks = SMALL.build(tokens, SHAPE, 3), large.build(tokens, (3, 32, 32), 10)
    assert [len(network.body.cells) for network in networks] == [5, 11]
    for kind in (0, 1):  # the first cell, and the first reduction
        one, other = (
            network.body.cells[kind * cells] for network, cells in zip(networks, (1, 3), strict=True)
        )
        assert one.plan == other.plan
        assert set(dict(one.named_parameters())) == set(dict(other.named_parameters()))
    assert networks[1](images(2, (3, 32, 32))).shape == (2, 10)


@pytest.mark.parametrize("name", NASNET_OPERATIONS)
def test_every_operation_fits_everywhere(name: str) -> None:
    """On inputs, on a concatenation, with a stride, on images of two by two pixels."""
    node = Node((Link(0, name), Link(1, name)), "concat")
    plan = CellPlan((node, Node((Link(2, name), Link(1, name)))), "unused")
    network = CellNetwork(plan, plan, (1, 8, 8), 2, channels=3, cells_per_stage=1)
    assert sizes(network, images(2, (1, 8, 8))) == [(3, 8, 8), *[(6, 4, 4)] * 2, *[(12, 2, 2)] * 2]


@pytest.mark.parametrize(
    "plan", [CellPlan(()), CellPlan((Node(()),)), CellPlan((Node((Link(2, "identity"),)),)), CellPlan((Node((Link(-1, "identity"),)),))]
)  # fmt: skip
def test_plans_that_are_no_graphs_are_refused(plan: CellPlan) -> None:
    with pytest.raises(FphiError, match="give it"):
        CellNetwork(plan, plan, (1, 8, 8), 3)
    with pytest.raises(FphiError, match="channels=0"):
        CellNetwork(ADD, ADD, (1, 8, 8), 3, channels=0)


def test_drawings_name_operations_and_combinations() -> None:
    graph = cell_graph("normal", CONCATENATE)
    assert graph.nodes == ("cell before last", "last cell", "concat", "output")
    assert [(e.start, e.end, e.label) for e in graph.edges] == [
        (0, 2, "identity"),
        (1, 2, "identity"),
        (2, 3, ""),
    ]


# Drop path.


def test_paths_are_dropped_image_by_image_more_and_more_often() -> None:
    torch.manual_seed(0)
    drop, x = DropPath(0.6), torch.ones(4000, 2, 3, 3)
    assert drop(x) is x  # nothing is done yet
    for progress in (0.5, 1.0):
        drop.set_progress(progress)
        keep = 1 - 0.6 * progress
        kept = drop(x)
        assert torch.equal(kept, kept[:, :1, :1, :1].expand_as(x))
        values = kept[:, 0, 0, 0]
        torch.testing.assert_close(values[values > 0], torch.full_like(values[values > 0], 1 / keep))
        assert abs(float((values > 0).float().mean()) - keep) < 0.03
        assert drop.eval()(x) is x
        drop.train()
    with pytest.raises(FphiError, match="rate is 1; it must be below 1"):
        DropPath(1)


def test_everything_but_identities_is_dropped() -> None:
    plan = CellPlan((Node((Link(0, "identity"), Link(1, "conv_3x3"))),))
    cell = Cell(plan, (2, 2), 2, drop_path=0.9)
    assert set(cell.drops) == {"2_1_1_conv_3x3"}
    x = images(50, (2, 4, 4))
    cell.drops["2_1_1_conv_3x3"].set_progress(1)  # type: ignore[operator]
    only_identity = (cell(x, x) == cell.inputs[0](x)).flatten(1).all(1)
    assert 30 < only_identity.sum() < 50
    # It has no state: networks with and without it have the same weights.
    assert set(cell.state_dict()) == set(Cell(plan, (2, 2), 2).state_dict())


# In few-shot learners.


@pytest.mark.parametrize("adapts", ["all", "head"])
def test_a_cell_network_is_adapted_to_tasks(adapts: str) -> None:
    torch.manual_seed(0)
    network = SMALL.network(SMALL.sample(Random(3)), SHAPE, 2, norm=BatchNorm)
    learner = GradientLearner(network, sgd(0.1), 2, adapts=adapts)  # type: ignore[arg-type]
    support = Examples(images(6), torch.arange(6) % 2)
    adapted = learner.adapt(support)
    changed = {
        name
        for name, p in network.named_parameters()
        if name in adapted and not torch.equal(p, adapted[name])
    }
    assert all(name.startswith("head") for name in changed) == (adapts == "head")
    learner(support, images(3)).sum().backward()
    assert next(iter(network.body.parameters())).grad is not None


def test_features_have_no_head() -> None:
    network = SMALL.network(tokens := SMALL.sample(Random(3)), SHAPE, None, norm=partial(nn.GroupNorm, 1))
    assert network(images()).shape == (4, network.feature_size)
    assert isinstance(network.head, nn.Identity)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in network.modules())
    assert SMALL.build(tokens, SHAPE, 3).feature_size == network.feature_size
