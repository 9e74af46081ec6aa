"""Sizes as published, and a batch norm that does what its mode says."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call

from fphi.errors import FphiError
from fphi.methods.base import Setting
from fphi.methods.families.networks import build_network
from fphi.networks import MLP, BatchNorm, Conv4, ConvBlock, calibrate, network_pass


def size(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("network", "parameters"),
    [
        (Conv4(), 112_261),
        (Conv4(None), 111_936),
        (Conv4(downsample="stride", features="mean", affine="shift"), 112_005),
        (Conv4(downsample="stride"), 113_221),
        (Conv4(channels=3, filters=32, image_size=84), 32_901),
        (Conv4(None, image_size=105, last_pool=False, filters=(32, 64, 128, 128, 256)), 536_640),
    ],
)
def test_parameter_counts_are_the_published_ones(network: nn.Module, parameters: int) -> None:
    assert size(network) == parameters


def reference(block: ConvBlock, x: torch.Tensor) -> torch.Tensor:
    """The block written down literally, with torch's own layers."""
    z = F.conv2d(x, block.conv.weight, block.conv.bias, block.conv.stride, padding=1)
    y = F.batch_norm(z, None, None, block.norm.weight, block.norm.bias, training=True, eps=block.norm.eps)
    return F.max_pool2d(F.relu(y), 2) if block.pool else F.relu(y)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 5),
    st.sampled_from([1, 3, 6]),
    st.integers(2, 9),
    st.integers(2, 9),
    st.booleans(),
    st.integers(),
)
def test_a_block_equals_convolution_norm_relu_pool(
    n: int, channels: int, height: int, width: int, pool: bool, seed: int
) -> None:
    """Value, gradient and second derivative, also with negative scales, where the minimum wins."""
    torch.manual_seed(seed % 2**32)
    block = ConvBlock(channels, 5, "pool" if pool else "stride", BatchNorm(5)).double()
    nn.init.normal_(block.norm.weight)  # type: ignore[arg-type]
    nn.init.normal_(block.norm.bias)  # type: ignore[arg-type]
    x = torch.randn(n, channels, height, width, dtype=torch.float64, requires_grad=True)
    if n * -(-height // block.conv.stride[0]) * -(-width // block.conv.stride[1]) == 1:
        return  # torch refuses to normalise a single value
    wanted = [x, block.conv.weight, block.norm.weight, block.norm.bias]
    found = []
    for out in (block(x), reference(block, x)):
        weights = torch.sin(torch.arange(out.numel(), dtype=torch.float64)).view_as(out)
        first = torch.autograd.grad((out * weights).pow(2).sum(), wanted, create_graph=True)  # type: ignore[arg-type]
        second = torch.autograd.grad(sum(g.sin().sum() for g in first), wanted)  # type: ignore[arg-type]
        found.append((out, first, second))
    torch.testing.assert_close(found[0], found[1], rtol=1e-7, atol=1e-9)


def test_a_bias_before_the_norm_has_no_effect_and_no_gradient() -> None:
    network = Conv4(image_size=16, filters=4).double()
    x = torch.rand(6, 1, 16, 16, dtype=torch.float64)
    before = network(x)
    for name, p in network.named_parameters():
        if name.endswith("conv.bias"):
            p.data.add_(3)
    assert torch.equal(before, network(x))


def test_support_mode_takes_the_statistics_of_the_support_rows() -> None:
    norm, x = BatchNorm(3, "support"), torch.randn(10, 3, 4, 4)
    with network_pass(support_rows=6):
        y = norm(x)
    alone = BatchNorm(3)(x[:6])
    torch.testing.assert_close(y[:6], alone)
    other = x.clone()
    other[7] = 100
    with network_pass(support_rows=6):
        assert torch.equal(norm(other)[:7], y[:7])


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize("shape", [(5, 3, 4, 2), (6, 3), (4, 2, 7)])
def test_every_derivative_of_the_moments_is_right(shape: tuple[int, ...]) -> None:
    """Against differences: reverse, reverse twice, forward, forward over reverse, each of them batched too."""
    norm, x = BatchNorm(shape[1]), torch.randn(shape, dtype=torch.float64) + 3
    var, mean = torch.var_mean(x, [d for d in range(x.dim()) if d != 1], correction=0)
    torch.testing.assert_close(norm.moments(x), (mean, var))
    x.requires_grad_()
    assert torch.autograd.gradcheck(norm.moments, x, check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(norm.moments, x, check_fwd_over_rev=True, check_batched_grad=True)


def test_moments_do_not_lose_figures_to_a_large_mean() -> None:
    values = torch.randn(50, 2, 8, 8, dtype=torch.float64)
    mean, var = BatchNorm(2).moments((values + 1000).float())
    torch.testing.assert_close(var.double(), values.var((0, 2, 3), correction=0), rtol=1e-4, atol=0)
    torch.testing.assert_close(mean.double(), values.mean((0, 2, 3)) + 1000, rtol=1e-6, atol=0)


def test_moments_of_bfloat16_are_summed_in_float32() -> None:
    x = (torch.randn(40, 3, 6, 6) + 50).bfloat16()
    mean, var = BatchNorm(3).moments(x)
    exact = x.double()
    assert mean.dtype == var.dtype == torch.bfloat16
    torch.testing.assert_close(mean.double(), exact.mean((0, 2, 3)), rtol=4e-3, atol=0)
    torch.testing.assert_close(var.double(), exact.var((0, 2, 3), correction=0), rtol=4e-3, atol=0)


def test_per_step_mode_has_a_scale_and_shift_for_each_step() -> None:
    norm, x = BatchNorm(3, "per-step"), torch.randn(5, 3)
    assert norm.weight is not None
    for step in (0, 1):  # one for all, until it is told how many steps there are
        with network_pass(step=step):
            assert torch.equal(norm(x), BatchNorm(3)(x))
    norm.set_steps(2)
    assert norm.weight.shape == (3, 3)
    norm.weight.data = torch.tensor([[1.0], [2.0], [3.0]]).expand(3, 3).clone()
    plain = BatchNorm(3)(x)
    for step, factor in ((0, 1), (1, 2), (2, 3), (7, 3)):
        with network_pass(step=step):
            torch.testing.assert_close(norm(x), factor * plain)


def test_scales_of_steps_that_are_there_stay_when_another_number_of_steps_is_told() -> None:
    norm = BatchNorm(2, "per-step-running")
    norm.set_steps(1)
    held = dict(norm.named_parameters())
    with torch.no_grad():
        for tensor in (*norm.parameters(), *norm.buffers()):
            tensor.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    for steps, rows in ((0, [0, 1]), (3, [0, 1, 1, 1]), (1, [0, 1, 1, 1])):
        norm.set_steps(steps)
        for tensor in (*norm.parameters(), *norm.buffers()):
            assert torch.equal(tensor, torch.tensor([[1.0, 2.0], [3.0, 4.0]])[rows])
    assert all(p is held[name] for name, p in norm.named_parameters())


def test_calibrated_statistics_are_those_of_all_batches_together() -> None:
    norm, batches = BatchNorm(3, "running"), [torch.randn(8, 3, 2, 2) * s + s for s in (1, 2, 3)]
    calibrate(norm, batches)
    everything = torch.cat(batches).transpose(0, 1).flatten(1)
    torch.testing.assert_close(norm.running_mean, everything.mean(1))
    torch.testing.assert_close(norm.running_var, everything.var(1, correction=0))
    norm.eval()
    one = batches[0][:1]
    torch.testing.assert_close(norm(batches[0])[:1], norm(one))


def test_running_mode_equals_torch_in_eval_with_a_convolution_bias() -> None:
    ours = Conv4(image_size=16, filters=4, norm="running")
    for name, p in ours.named_parameters():
        if "norm.weight" in name:  # falling channels too
            p.data.copy_(torch.tensor([1.0, -0.7, 0.5, -1.2]))
    batches = [torch.rand(6, 1, 16, 16) for _ in range(3)]
    calibrate(ours, batches)
    ours.eval()
    x = torch.rand(2, 1, 16, 16)
    expected = x
    for block in list(ours.body)[:4]:
        assert isinstance(block, ConvBlock)
        z = block.conv(expected)
        norm = block.norm
        y = F.batch_norm(z, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
        expected = F.max_pool2d(F.relu(y), 2)
    torch.testing.assert_close(ours(x), ours.head(expected.flatten(1)), rtol=1e-4, atol=1e-5)


def test_mlp_is_maml_s() -> None:
    network = MLP(784, (256, 128, 64, 64), 5, norm="query-batch")
    widths = (784, 256, 128, 64, 64)
    assert size(network) == sum(a * b + b + 2 * b for a, b in pairwise(widths)) + 64 * 5 + 5
    x = torch.rand(4, 1, 28, 28)
    assert torch.equal(functional_call(network, dict(network.named_parameters()), (x,)), network(x))


@pytest.mark.parametrize(("side", "left"), [(28, 1), (32, 2), (84, 5), (105, 6)])
def test_five_blocks_halve_larger_images_four_times(side: int, left: int) -> None:
    network = build_network("conv5", Setting(5, 1, (1, side, side)), "running", head=False)
    assert isinstance(network, Conv4)
    assert network.feature_size == 256 * left * left
    assert network(torch.rand(2, 1, side, side)).shape == (2, network.feature_size)


def test_unknown_modes_and_sizes_are_refused() -> None:
    with pytest.raises(FphiError, match="mode is 'batch'; it must be one of query-batch"):
        BatchNorm(3, "batch")  # type: ignore[arg-type]
    with pytest.raises(FphiError, match="image_size=12 is too small: the poolings need at least 16 pixels"):
        Conv4(image_size=12)
    with pytest.raises(FphiError, match="image_size=12 is too small: the poolings need at least 16 pixels"):
        Conv4(image_size=12, filters=(8, 8, 8, 8, 8), last_pool=False)
