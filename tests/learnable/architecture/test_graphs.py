"""Free graphs: chains of mutations give valid networks; tokens and text there and back; the evolution of them."""

from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fphi.errors import FphiError
from fphi.learnable.architecture import SPACES, GraphSpace
from fphi.learnable.architecture.graph_architecture import (
    IMAGE,
    Convolution,
    GraphArchitecture,
    Vertex,
)
from fphi.learnable.architecture.graph_network import GraphNetwork, fitted
from fphi.learnable.controller import LSTMController
from fphi.learnable.space import Candidate, Tokens
from fphi.methods.large_scale_evolution import LargeScaleEvolution
from fphi.methods.table import get_method
from fphi.optimize import PairwiseTournament

SPACE = GraphSpace(vertices=8, most_channels=12)
SEEDS = st.integers(0, 10**6)
CONV = Convolution(3, 3, 1, 8)
# image -> 4: conv, BN, ReLU -> 0: one-to-one, linear -> 2: conv, linear; 4 and the image are added to 2.
THREE = GraphArchitecture(
    16, (Vertex(4, CONV, True), Vertex(0), Vertex(2, Convolution(5, 1, 2, 6), False, frozenset({IMAGE, 4})))
)


def grown(seed: int, mutations: int = 25, space: GraphSpace = SPACE) -> Tokens:
    rng = Random(seed)
    tokens = space.start(rng)
    for _ in range(mutations):
        tokens = space.mutate(tokens, rng)
    return tokens


def require_sound(space: GraphSpace, tokens: Tokens) -> None:
    """Tokens are an architecture and come back from what they stand for, and from what they are written as."""
    assert space.check(tokens) == tokens
    assert space.tokens(space.architecture(tokens)) == tokens
    assert space.parse(space.text(tokens)) == tokens


def require_running(space: GraphSpace, tokens: Tokens, shape: tuple[int, ...]) -> None:
    """Forward and backward; every parameter gets a gradient."""
    network = space.build(tokens, shape, 5)
    logits = network(torch.randn(3, *shape))
    assert logits.shape == (3, 5)
    assert logits.isfinite().all()
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("space", [GraphSpace(), SPACE, GraphSpace(1, 3, 1, 1, 1)])
def test_long_chains_of_mutations_are_valid_and_run(space: GraphSpace) -> None:
    rng = Random(3)
    tokens = space.start(rng)
    for i in range(250):
        tokens = space.mutate(tokens, rng)
        if i % 10 == 0:
            require_sound(space, tokens)
            require_running(space, tokens, ((1, 8, 8), (3, 13, 9))[i // 10 % 2])


@given(SEEDS)
def test_grown_and_drawn_architectures_there_and_back(seed: int) -> None:
    require_sound(SPACE, grown(seed))
    require_sound(SPACE, SPACE.sample(Random(seed)))


@given(SEEDS)
def test_mutations_stay_within_the_limits(seed: int) -> None:
    graph = SPACE.architecture(grown(seed, 60))
    assert len(graph.vertices) <= SPACE.vertices
    assert len(set(graph.identities)) == len(graph.identities)
    for place, vertex in enumerate(graph.vertices):
        assert 0 <= vertex.identity < SPACE.vertices
        assert vertex.skips <= set(graph.identities[: place + 1])
        if vertex.edge is not None:
            assert {vertex.edge.height, vertex.edge.width} <= {1, 3, 5, 7}
            assert vertex.edge.stride in (1, 2, 4)
            assert 1 <= vertex.edge.channels <= 12


def test_random_architectures_run() -> None:
    rng = Random(0)
    for i in range(25):
        require_running(SPACE, SPACE.sample(rng), ((1, 8, 8), (3, 13, 9))[i % 2])


def test_a_controller_emits_graphs() -> None:
    controller = LSTMController(SPACE, hidden=8)
    drawn = controller.sample(8, torch.Generator().manual_seed(0))
    assert [SPACE.check(tokens) for tokens in drawn] == drawn
    log_p, entropy = controller.score(drawn)
    assert log_p.shape == entropy.shape == (8,)
    assert (log_p < 0).all()


def test_a_search_begins_with_linear_classifiers_of_the_mean_colour() -> None:
    space = GraphSpace()
    start = space.start(Random(0))
    assert space.text(start) == "lr 0.1"
    assert space.architecture(start) == GraphArchitecture(16)
    network = space.build(start, (3, 8, 8), 10)
    assert {name: tuple(p.shape) for name, p in network.named_parameters()} == {
        "head.weight": (10, 3),
        "head.bias": (10,),
    }
    x = torch.randn(2, 3, 8, 8)
    head = network.head
    assert isinstance(head, torch.nn.Linear)
    torch.testing.assert_close(network(x), x.mean((2, 3)) @ head.weight.T + head.bias)


def test_learning_rates_are_a_quarter_of_an_octave_apart() -> None:
    rates = GraphSpace().rates
    assert len(rates) == 33
    assert rates[16] == 0.1
    assert rates[12] == pytest.approx(0.05)
    assert rates[32] == pytest.approx(1.6)
    assert GraphSpace().learning_rate((0, 20, 0)) == pytest.approx(0.2)
    assert [GraphSpace().inherits((reset, 0, 0)) for reset in (0, 1)] == [True, False]


def test_what_meets_a_vertex_is_resized_without_weights() -> None:
    x = torch.arange(8.0).reshape(1, 2, 2, 2)
    assert torch.equal(fitted(x, (2, 4, 4))[0, 0, 0], torch.tensor([0.0, 0, 1, 1]))
    assert torch.equal(fitted(x, (1, 2, 2)), x[:, :1])
    assert torch.equal(fitted(x, (3, 2, 2)), torch.cat([x, torch.zeros(1, 1, 2, 2)], 1))
    assert torch.equal(fitted(x, (2, 1, 1))[0, :, 0, 0], torch.tensor([0.0, 4.0]))


def test_a_network_computed_by_hand() -> None:
    """A 1x1 convolution that triples every second pixel; the image, halved, is added to it."""
    edge = Convolution(1, 1, 2, 2)
    network = GraphNetwork(
        GraphArchitecture(0, (Vertex(5, edge, False, frozenset({IMAGE})),)), (1, 4, 4), None
    )
    state = {"weight": torch.tensor([3.0, -1.0]).reshape(2, 1, 1, 1), "bias": torch.tensor([0.0, 10.0])}
    network.load_state_dict({f"vertices.5.convolution.{name}": tensor for name, tensor in state.items()})
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    mean = (0 + 2 + 8 + 10) / 4  # nearest neighbours take the same pixels as the stride
    assert network.feature_size == 2
    torch.testing.assert_close(network(x), torch.tensor([[4 * mean, 10 - mean]]))


def test_drawings_have_every_edge() -> None:
    (graph,) = GraphSpace().graphs(GraphSpace().tokens(THREE))
    assert graph.nodes == ("image", "BN, ReLU", "linear", "linear", "output")
    assert [(e.start, e.end, e.label) for e in graph.edges] == [
        (0, 1, "3x3/1, 8"),
        (1, 2, "one-to-one"),
        (2, 3, "5x1/2, 6"),
        (0, 3, "skip"),
        (1, 3, "skip"),
        (3, 4, "mean, linear"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "", "lr 0.11", "lr 0.1; ", "lr 0.1; 0 conv 2x3/1 8", "lr 0.1; 0 conv 3x3/3 8", "lr 0.1; 0 conv 3x3/1 0",
        "lr 0.1; 0 conv 3x3/1 13", "lr 0.1; 8 one-to-one", "lr 0.1; 0 one-to-one; 0 one-to-one",
        "lr 0.1; 0 one-to-one +1; 1 one-to-one", "lr 0.1; 00 one-to-one", "lr 0.1; 0 one-to-one +image +image",
        "; ".join(["lr 0.1", *(f"{i} one-to-one" for i in range(9))]),
    ],
)  # fmt: skip
def test_what_no_graph_is_written_as(text: str) -> None:
    with pytest.raises(
        FphiError, match=r"is no architecture of the space graphs with up to 8 vertices; one looks"
    ):
        SPACE.parse(text)


def test_limits_within_which_nothing_grows() -> None:
    with pytest.raises(FphiError, match="vertices=0"):
        GraphSpace(vertices=0)
    with pytest.raises(FphiError, match="largest_filter=4, largest_stride=4: give an odd size"):
        GraphSpace(largest_filter=4)
    with pytest.raises(FphiError, match="largest_stride=3"):
        GraphSpace(largest_stride=3)
    with pytest.raises(FphiError, match="first_lr=0"):
        GraphSpace(first_lr=0)


def test_the_system_is_a_tournament_of_pairs_on_graphs() -> None:
    method = get_method("large-scale-evolution")
    assert method is LargeScaleEvolution
    assert SPACES[method.usual_space] is GraphSpace
    assert LargeScaleEvolution.inherits
    optimizer = LargeScaleEvolution(population=7).optimizer(SPACE, 3)
    assert isinstance(optimizer, PairwiseTournament)
    assert (optimizer.size, optimizer.seed, optimizer.space) == (7, 3, SPACE)


def depth_loss(tokens: Tokens) -> float:
    """A loss without noise: few channels in all are bad."""
    edges = [vertex.edge for vertex in SPACE.architecture(tokens).vertices]
    return 1 / (1 + sum(edge.channels for edge in edges if edge is not None))


@pytest.mark.parametrize("workers", [1, 4])
def test_the_population_stays_and_its_best_never_dies(workers: int) -> None:
    optimizer = PairwiseTournament(SPACE, 0, size=10)
    flying: list[Candidate] = []
    best = 1.0
    for told in range(300):
        while len(flying) < workers:
            flying.append(optimizer.ask())
        candidate = flying.pop(Random(told).randrange(len(flying)))
        optimizer.tell(candidate, depth_loss(candidate.tokens))
        best = min(best, depth_loss(candidate.tokens))
        # The places of those in flight are free until their losses are told.
        assert len(optimizer.population) + len(flying) == min(told + workers, 10)
        assert min(individual.loss for individual in optimizer.population) == best
    assert best <= optimizer.standing()["population_loss"] < 0.1
