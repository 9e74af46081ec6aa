"""CKA: what it does not see, what it does, and its estimates in closed form."""

from itertools import permutations

import pytest
import torch
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.experiments.parts.cka import linear_cka
from fphi.experiments.parts.layers import layer_outputs
from fphi.networks import MLP, Conv4


def features(n: int, d: int, seed: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("debiased", [False, True])
@pytest.mark.parametrize("d", [3, 40])
def test_rotations_scales_and_shifts_are_not_seen(d: int, debiased: bool) -> None:
    x, y = features(12, d, 0), features(12, 5, 1)
    turn, _ = torch.linalg.qr(features(d, d, 2))
    same = 3.7 * x @ turn + features(1, d, 3)
    assert linear_cka(x, same, debiased=debiased) == pytest.approx(1, abs=1e-12)
    one, other = (linear_cka(z, y, debiased=debiased) for z in (x, same))
    assert one == pytest.approx(other, abs=1e-12)
    assert linear_cka(y, x, debiased=debiased) == pytest.approx(one, abs=1e-12)
    assert one < 0.9


def test_other_linear_maps_are_seen() -> None:
    x = features(12, 3, 0)
    assert linear_cka(x, x @ torch.diag(torch.tensor([1.0, 5.0, 25.0], dtype=torch.float64))) < 0.9


def test_of_one_feature_each_it_is_the_squared_correlation() -> None:
    x, y = features(9, 1, 0), features(9, 1, 1)
    expected = float(torch.corrcoef(torch.stack([x[:, 0], y[:, 0]]))[0, 1] ** 2)
    assert linear_cka(x, y) == pytest.approx(expected, abs=1e-12)


def test_uncorrelated_features_have_none() -> None:
    x = torch.tensor([[1.0], [1.0], [-1.0], [-1.0]])
    y = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]])
    assert linear_cka(x, y) == 0


def test_in_many_dimensions_chance_alone_looks_alike_unless_it_is_debiased() -> None:
    x, y = features(40, 20_000, 0), features(40, 20_000, 1)
    assert linear_cka(x, y) > 0.9
    assert abs(linear_cka(x, y, debiased=True)) < 0.1


def test_the_debiased_one_is_of_distinct_examples_alone() -> None:
    """HSIC's unbiased estimate is a mean over all ordered quadruples of distinct examples."""
    x, y = features(6, 3, 0), features(6, 2, 1)

    def hsic(x: Tensor, y: Tensor) -> float:
        k, m = x @ x.T, y @ y.T
        terms = [k[a, b] * (m[a, b] + m[c, d] - 2 * m[a, c]) for a, b, c, d in permutations(range(6), 4)]
        return float(torch.stack(terms).mean())

    expected = hsic(x, y) / (hsic(x, x) * hsic(y, y)) ** 0.5
    assert linear_cka(x, y, debiased=True) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("x", "y", "debiased", "message"),
    [
        (torch.rand(4, 2), torch.rand(5, 2), False, "features of 4 and 5 examples"),
        (torch.rand(3, 2), torch.rand(3, 2), True, "4 at least"),
        (torch.ones(5, 2), torch.rand(5, 2), False, "features do not vary"),
    ],
)
def test_what_cannot_be_compared_is_refused(x: Tensor, y: Tensor, debiased: bool, message: str) -> None:
    with pytest.raises(FphiError, match=message):
        linear_cka(x, y, debiased=debiased)


@pytest.mark.parametrize(
    "network", [Conv4(5, filters=4, downsample="stride"), MLP(784, (8, 6), 5, "query-batch")]
)
def test_the_last_layer_is_the_network_with_these_parameters(network: nn.Module) -> None:
    x = torch.rand(7, 1, 28, 28)
    own = {name: p.detach() for name, p in network.named_parameters()}
    other = {name: p + 0.1 for name, p in own.items()}
    outputs = layer_outputs(network, other, x)
    expected = torch.func.functional_call(network, other, (x,))
    torch.testing.assert_close(outputs["head"], expected)
    assert list(outputs)[-1] == "head"
    assert next(iter(outputs)) == "layer 1"
    assert not any(module._forward_hooks for module in network.modules())
    again = layer_outputs(network, own, x)
    assert not torch.equal(again["layer 1"], outputs["layer 1"])


def test_a_network_without_a_body_has_no_layers() -> None:
    with pytest.raises(FphiError, match=r"\.body and \.head"):
        layer_outputs(nn.Linear(2, 2), {}, torch.ones(1, 2))
