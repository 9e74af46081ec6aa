"""DARTS's space and supernet, the cells of NAS-Bench-201, and mixtures of both."""

import csv
import gzip
import os
from pathlib import Path
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from darts_helpers import SHAPE, SPACES, copied, images, mixture_of, one_hot
from fphi.errors import FphiError
from fphi.learnable.architecture import DartsSpace, NASBench201Space
from fphi.learnable.architecture.darts import PRIMITIVES, derived_links
from fphi.learnable.architecture.nasbench201 import EDGES_201, OPERATIONS_201
from fphi.networks.cells import Link
from fphi.networks.mixture import MixedCell, Way, fixed_norm, ways
from fphi.networks.nasbench201 import Cell201

DARTS, CELL_201 = SPACES
SEEDS = st.integers(0, 10_000)


def test_a_cell_has_as_many_architectures_as_the_paper_says() -> None:
    assert DARTS.cell_size == 180 * 7**8 == 1_037_664_180
    assert DARTS.size == 1_037_664_180**2
    assert len(DARTS.decisions) == 2 * 4 * 3


@given(SEEDS)
@settings(max_examples=50, deadline=None)
def test_texts_there_and_back(seed: int) -> None:
    rng = Random(seed)
    tokens = DARTS.sample(rng)
    assert DARTS.parse(DARTS.text(tokens)) == DARTS.check(tokens) == tokens
    other = DARTS.mutate(tokens, rng)
    assert sum(a != b for a, b in zip(tokens, other, strict=True)) == 1
    assert DARTS.text(other) != DARTS.text(tokens)
    for graph, plan in zip(DARTS.graphs(tokens), DARTS.plans(tokens), strict=True):
        assert len(graph.nodes) == 7
        assert len(graph.edges) == 8 + 4
        assert all(one.source < other.source for one, other in (node.links for node in plan.nodes))


@pytest.mark.parametrize(
    "text", ["", "normal", "normal identity(0)+identity(0) reduction identity(1)+none(0)"]
)
def test_what_is_no_architecture_is_refused(text: str) -> None:
    with pytest.raises(FphiError, match="one looks like 'normal max_pool_3x3"):
        DARTS.parse(text)
    swapped = DARTS.text((0,) * 24).replace(
        "max_pool_3x3(0)+max_pool_3x3(1)", "max_pool_3x3(1)+max_pool_3x3(0)"
    )
    with pytest.raises(FphiError, match="no architecture"):
        DARTS.parse(swapped)


@given(SEEDS)
@settings(max_examples=6, deadline=None)
def test_sampled_networks_run_and_learn(seed: int) -> None:
    for space in SPACES:
        network = space.build(space.sample(Random(seed)), SHAPE, 4)
        out = network(images(3))
        out.square().sum().backward()
        assert out.shape == (3, 4)
        assert network.head.weight.grad is not None


def test_spaces_refuse_networks_with_nothing_in_them() -> None:
    for space in (DartsSpace, NASBench201Space):
        with pytest.raises(FphiError, match="cells=0"):
            space(cells=0)


# The derivation.


def test_the_derivation_by_hand() -> None:
    """Ranking by α itself, or by a softmax without none, would keep edge 0."""
    shares = torch.tensor([[3, 1, 0], [0, 1, 0], [0, 0, 0.5]]).softmax(-1)
    assert shares[:, 1:].max(-1).values.tolist() == pytest.approx([0.1142, 0.5761, 0.4519], abs=5e-5)
    edges = tuple(Way(start, 3) for start in range(3))
    assert derived_links(shares, edges, ("none", "skip", "conv")) == [(Link(1, "skip"), Link(2, "conv"))]


MIXED = mixture_of(DARTS)


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_derived_cells_keep_the_strongest_edges_and_never_none(seed: int) -> None:
    supernet = MIXED
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for alpha in supernet.alphas.values():
            alpha.copy_(2 * torch.randn(alpha.shape, generator=generator))
        supernet.alphas["normal"][:, 0] += 4  # none is by far the largest, and still never chosen
    tokens = DARTS.check(supernet.derive())
    shares = {k: p.detach() for k, p in supernet.probabilities().items()}
    for kind, plan in zip(("normal", "reduction"), DARTS.plans(tokens), strict=True):
        for state, node in enumerate(plan.nodes, start=2):
            strength = {
                way.start: float(share[1:].max())
                for way, share in zip(ways(4), shares[kind], strict=True)
                if way.end == state
            }
            assert {link.source for link in node.links} == set(
                sorted(strength, key=lambda s: -strength[s])[:2]
            )
            for link in node.links:
                edge = [tuple(way) for way in ways(4)].index((link.source, state))
                assert link.operation == PRIMITIVES[1 + int(shares[kind][edge, 1:].argmax())]
    normal, reduction = DARTS.plans(tokens)
    assert supernet.skips() == {
        "normal": normal.operations["identity"], "reduction": reduction.operations["identity"],
    }  # fmt: skip


def test_the_cell_of_nasbench201_may_have_none() -> None:
    supernet = mixture_of(CELL_201, 0, spread=1.0)
    alpha = supernet.alphas["cell"]
    assert supernet.derive() == tuple(alpha.argmax(-1).tolist())
    with torch.no_grad():
        alpha[:, 0] = 9
        alpha[1:3, 1] = 10
    assert (
        CELL_201.text(supernet.derive()) == "|none~0|+|skip_connect~0|skip_connect~1|+|none~0|none~1|none~2|"
    )
    assert supernet.skips() == {"cell": 2}


# The mixture.


def test_the_supernet_is_the_papers() -> None:
    supernet = DartsSpace(cells=2, channels=4).mixture((3, 8, 8), 10)
    assert {k: tuple(a.shape) for k, a in supernet.alphas.items()} == {
        "normal": (14, 8),
        "reduction": (14, 8),
    }
    cells = [m for m in supernet.modules() if isinstance(m, MixedCell)]
    assert [cell.reduces for cell in cells] == [False, False, True, False, False, True, False, False]
    channels = (4, 4, 8, 8, 8, 16, 16, 16)
    sizes = [
        cell.edges[0](torch.zeros(1, c, 8, 8), torch.ones(8)).shape[-1]
        for cell, c in zip(cells, channels, strict=True)
    ]
    assert sizes == [8, 8, 4, 8, 8, 4, 8, 8]
    assert cells[2].edges[-1](torch.zeros(1, 8, 4, 4), torch.ones(8)).shape == (1, 8, 4, 4)
    norms = [m for m in supernet.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert not any(norm.affine for norm in norms)
    # α begins small: every operation has its share, to a thousandth.
    assert all(torch.allclose(p, torch.tensor(1 / 8), atol=1e-3) for p in supernet.probabilities().values())
    assert supernet.entropy() == pytest.approx(torch.tensor(8.0).log().item(), abs=1e-4)
    assert set(supernet.weights()) | set(supernet.architecture()) == {
        n for n, _ in supernet.named_parameters()
    }
    assert set(supernet.architecture()) == {"alphas.normal", "alphas.reduction"}


@pytest.mark.parametrize("training", [True, False])
@given(SEEDS)
@settings(max_examples=3, deadline=None)
def test_one_hot_the_supernet_is_the_derived_network(training: bool, seed: int) -> None:
    tokens = DARTS.sample(Random(seed))
    supernet = mixture_of(DARTS, seed).train(training)
    network = DARTS.network(tokens, SHAPE, 4, fixed_norm).train(training)
    copied(supernet, network)
    one_hot(supernet, DARTS, tokens)
    x = images(6, seed)
    assert torch.allclose(supernet(x), network(x), atol=1e-5)
    assert supernet.derive() == tokens
    assert supernet.entropy() == 0


@given(SEEDS)
@settings(max_examples=10, deadline=None)
def test_one_hot_the_mixture_is_the_cell_of_nasbench201(seed: int) -> None:
    tokens = CELL_201.sample(Random(seed))
    supernet = mixture_of(CELL_201, seed)
    network = CELL_201.network(tokens, SHAPE, 4, fixed_norm)
    shared = {name.removeprefix("network."): t for name, t in supernet.state_dict().items()}
    for name, own in network.state_dict().items():
        before, edges, edge = name.partition(".edges.")
        number, _, part = edge.partition(".")
        chosen = OPERATIONS_201[tokens[int(number or 0)]]
        own.copy_(shared[f"{before}.edges.{number}.operations.{chosen}.{part}" if edges else name])
    with torch.no_grad():
        supernet.alphas["cell"].fill_(-torch.inf)
        supernet.alphas["cell"][torch.arange(6), list(tokens)] = 0
    assert torch.allclose(supernet(images(5, seed)), network(images(5, seed)), atol=1e-5)
    assert supernet.derive() == tokens


# The benchmark's networks.


def test_the_network_of_nasbench201() -> None:
    benchmark = NASBench201Space(channels=16, cells=5)
    named = {"none": 0.073306, "skip_connect": 0.073306, "nor_conv_3x3": 1.531546}
    for name, millions in named.items():
        network = benchmark.build((OPERATIONS_201.index(name),) * 6, (3, 32, 32), 10)
        assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=1e-6)
    # Edge by edge: a skip from the input doubles what an edge before it has made.
    cell = Cell201(["skip_connect"] * 6, 16)
    x = torch.rand(1, 16, 8, 8)
    assert torch.allclose(cell(x), 4 * x)  # 1 = x, 2 = x + 1 = 2x, 3 = x + x + 2x
    assert [tuple(way) for way in ways(3, inputs=1)] == list(EDGES_201)


@pytest.mark.data
def test_the_networks_have_as_many_parameters_as_the_table_says() -> None:
    root = os.environ.get("FPHI_DATA")
    path = Path(root or "") / "nasbench201" / "nasbench201.csv.gz"
    if not root or not path.is_file():
        pytest.skip("FPHI_DATA names no folder with nasbench201/nasbench201.csv.gz")
    benchmark = NASBench201Space(channels=16, cells=5)
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = Random(0).sample(list(csv.DictReader(file)), 40)
    for row in rows:
        network = benchmark.build(benchmark.parse(row["arch_str"]), (3, 32, 32), 10)
        millions = sum(p.numel() for p in network.parameters()) / 1e6
        assert millions == pytest.approx(float(row["params_M"]), abs=1.1e-6)
