"""The space of layers: questions, texts, mutations; its rules for inputs and loose outputs, by hand."""

from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.learnable.architecture import LayerSpace
from fphi.networks.channels_last import Convolution
from fphi.networks.layers import Layer, LayerNetwork, joined, loose_layers
from policy_helpers import everything

SPACES = [
    LayerSpace(depth=4, filters=(2, 3)),
    LayerSpace(depth=5, strides=(1,), filters=(3,)),
    LayerSpace(depth=3, skips=False, filters=(2, 4)),
    LayerSpace(depth=4, heights=(3,), widths=(3,), strides=(2,), filters=(2,)),  # connections alone
]
SPACE = pytest.mark.parametrize("space", SPACES, ids=str)
seeds = st.integers(0, 10**6)


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def plain(*sources: tuple[int, ...], filters: int = 2) -> list[Layer]:
    """1x1 convolutions with the given inputs."""
    return [Layer(1, 1, 1, 1, filters, taken) for taken in sources]


# The questions.


def test_the_paper_s_questions_of_each_layer() -> None:
    space = LayerSpace(depth=3, filters=(24, 36, 48, 64))
    first, third = space.decisions[:5], space.decisions[11:]
    assert [(d.name, d.choices) for d in first] == [
        ("filter height", 4), ("filter width", 4), ("stride height", 3), ("stride width", 3), ("filters", 4)
    ]  # fmt: skip
    assert [(d.name, d.part) for d in third[:5]] == [(d.name, 3) for d in first]
    assert [(d.about, d.is_connection) for d in third[5:]] == [((1,), True), ((2,), True)]
    assert space.size == (4 * 4 * 3 * 3 * 4) ** 3 * 2**3
    # Deeper networks are asked the same at first: what a controller has learned keeps its meaning.
    deeper = LayerSpace(depth=5, filters=(24, 36, 48, 64)).decisions
    assert deeper[: len(space.decisions)] == space.decisions


def test_what_has_one_choice_is_not_asked_and_a_small_space_is_enumerated() -> None:
    space = LayerSpace(depth=2, heights=(1, 3), widths=(3,), strides=(1,), filters=(8,))
    every = list(everything(space))
    assert len(set(every)) == space.size == 2 * 2 * 2
    assert len({space.text(tokens) for tokens in every}) == 8
    assert space.layers((1, 0, 1)) == [Layer(3, 3, 1, 1, 8, ()), Layer(1, 3, 1, 1, 8, (1,))]


def test_without_skip_connections_it_is_a_chain() -> None:
    space = LayerSpace(depth=3, skips=False)
    assert [layer.sources for layer in space.layers((0,) * 15)] == [(), (1,), (2,)]


@SPACE
@settings(deadline=None, max_examples=20)
@given(seed=seeds, depth=st.integers(1, 7))
def test_texts_and_tokens_there_and_back_at_any_depth(space: LayerSpace, seed: int, depth: int) -> None:
    if depth == 1 and not space.asked:
        return
    rng = Random(seed)
    deeper = LayerSpace(depth, space.heights, space.widths, space.strides, space.filters, space.skips)
    tokens = deeper.sample(rng)
    # A space knows architectures of another depth by their number of tokens.
    assert space.check(tokens) == tokens
    assert space.like(tokens) == deeper
    assert space.parse(space.text(tokens)) == tokens
    assert len(space.layers(tokens)) == depth
    mutated = space.check(space.mutate(tokens, rng))
    assert sum(a != b for a, b in zip(tokens, mutated, strict=True)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3x3",
        "3x3/1x1:7",
        "2x3/1x1:2",
        "3x3/1x1:2 | 3x3/1x1:2 +2",
        "3x3/1x1:2 +0",
        "3x3/1x1:2 | 3x3/1x1:2 +1 +1",
    ],
)
def test_what_is_no_architecture_is_refused(text: str) -> None:
    with pytest.raises(FphiError, match=r"one looks like '1x1/1x1:2 \| 1x1/1x1:2"):
        SPACES[0].parse(text)
    with pytest.raises(FphiError, match="too few"):
        SPACES[0].check((0,) * 9)  # a layer has 5 tokens, two have 11
    with pytest.raises(FphiError, match="no answer to 'filter height'"):
        SPACES[0].check((4, 0, 0, 0, 0))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"depth": 0}, "0 layers"),
        ({"heights": (2, 3)}, "filter height .*odd"),
        ({"widths": ()}, "filter width"),
        ({"strides": (0, 1)}, "stride height"),
        ({"filters": (4, 4)}, "filters .*each once"),
        ({"depth": 1, "heights": (1,), "widths": (1,), "strides": (1,), "filters": (1,)}, "single network"),
    ],
)
def test_spaces_of_nothing_are_refused(options: dict[str, int], reason: str) -> None:
    with pytest.raises(FphiError, match=reason):
        LayerSpace(**options)  # type: ignore[arg-type]


# The networks.


@SPACE
@settings(deadline=None, max_examples=10)
@given(seed=seeds, size=st.sampled_from([(1, 8, 8), (3, 11, 9), (2, 16, 16), (1, 28, 28)]))
def test_random_networks_run_forward_and_backward(
    space: LayerSpace, seed: int, size: tuple[int, ...]
) -> None:
    torch.manual_seed(seed)
    network = space.build(space.sample(Random(seed)), size, 5)
    out = network(torch.randn(4, *size))
    assert out.shape == (4, 5)
    out.logsumexp(-1).sum().backward()
    # Whatever a layer gives is used in the end.
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_a_layer_without_input_takes_the_image_and_loose_outputs_are_joined() -> None:
    layers = plain((), (1,), (), (1, 3), (3,))
    assert loose_layers(layers) == [2, 4, 5]
    network = LayerNetwork(layers, (1, 6, 6), 3).eval()
    x = torch.randn(2, 1, 6, 6)

    def run(number: int, *inputs: Tensor) -> Tensor:
        out: Tensor = network.layers[number - 1](torch.cat(inputs, 1))
        return out

    first, third = run(1, x), run(3, x)
    outs = [run(2, first), run(4, first, third), run(5, third)]
    torch.testing.assert_close(network(x), network.head(torch.cat(outs, 1).mean((-2, -1))))
    assert network.features == 6


def test_what_is_joined_is_padded_with_zeros_to_the_largest() -> None:
    image = joined([torch.ones(1, 1, 3, 1), torch.ones(1, 2, 2, 4)])
    assert image.shape == (1, 3, 3, 4)
    assert image[0, 0].tolist() == [[0, 1, 0, 0]] * 3
    assert image[0, 1].tolist() == image[0, 2].tolist() == [[1] * 4, [1] * 4, [0] * 4]


def test_no_map_shrinks_below_one_pixel() -> None:
    layers = [Layer(7, 1, 3, 2, 2, () if n == 0 else (n,)) for n in range(6)]
    network = LayerNetwork(layers, (1, 8, 8), 4)
    sizes: list[tuple[int, ...]] = []
    for layer in network.layers:
        layer.register_forward_hook(lambda *a: sizes.append(tuple(a[2].shape[2:])))
    network(torch.randn(3, 1, 8, 8))
    assert sizes == [(3, 4), (1, 2), (1, 1), (1, 1), (1, 1), (1, 1)]  # rounded up


def test_the_number_of_parameters_by_hand() -> None:
    layers = [Layer(3, 5, 1, 1, 4, ()), Layer(1, 1, 2, 2, 6, (1,)), Layer(7, 3, 1, 1, 5, (1, 2))]
    convolutions = 3 * 5 * 3 * 4 + 4 * 6 + 7 * 3 * (4 + 6) * 5
    norms = 2 * (4 + 6 + 5)
    assert parameters(LayerNetwork(layers, (3, 8, 8), 10)) == convolutions + norms + 5 * 10 + 10
    assert parameters(LayerNetwork(layers[:2], (3, 8, 8), None)) == 180 + 24 + 2 * 10


def test_a_layer_is_convolution_normalisation_relu() -> None:
    network = LayerSpace(depth=1).build((1, 1, 0, 0, 0), (1, 8, 8), 10)
    assert [type(part) for part in network.layers[0].children()] == [Convolution, nn.BatchNorm2d, nn.ReLU]
    frozen = LayerSpace(depth=1).network((1, 1, 0, 0, 0), (1, 8, 8), 10, lambda c: nn.GroupNorm(1, c))
    assert any(isinstance(part, nn.GroupNorm) for part in frozen.modules())


def test_the_drawing_shows_the_image_the_layers_and_what_is_loose() -> None:
    space = LayerSpace(depth=3, heights=(1, 3), widths=(1,), strides=(1,), filters=(2,))
    (graph,) = space.graphs((1, 0, 1, 0, 1, 0))
    assert graph.nodes == ("image", "3x1/1x1:2", "1x1/1x1:2", "1x1/1x1:2", "output")
    assert [(edge.start, edge.end) for edge in graph.edges] == [(0, 1), (1, 2), (1, 3), (2, 4), (3, 4)]
