"""In float32 the gradients of Conv4 learners are as near those of float64 as those of a loop over torch's layers.

The loss has kinks, where another pixel wins a window or a ReLU dies. Where rounding crosses one, float32 is off by
some thousandths, by whatever way it is computed; so it is medians over seeds that are compared.
"""

from collections.abc import Callable
from statistics import median

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from fphi import Conv4, Examples, Task, meta_gradient, sgd
from fphi.learnable import (
    GradientLearner,
    LearningAlgorithm,
    MatchingLearner,
    PrototypicalLearner,
    ReptileLearner,
)
from fphi.networks.batch_norm import BatchNorm
from fphi.networks.conv4 import ConvBlock
from fphi.within import Batching
from native_helpers import derivatives, deviation, needs_kernels, numbers

FILTERS, SEEDS = 16, range(5)


class PlainBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, FILTERS, 3, padding=1)
        self.norm = nn.BatchNorm2d(FILTERS, track_running_stats=False)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.max_pool2d(self.norm(self.conv(x)).relu(), 2)


class PlainConv4(nn.Module):
    """`Conv4` of torch's own layers, with its parameters' names."""

    def __init__(self, ways: int | None, planes: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(*map(PlainBlock, (planes, FILTERS, FILTERS, FILTERS)), nn.Flatten())
        self.head = nn.Identity() if ways is None else nn.Linear(FILTERS, ways)

    def forward(self, x: Tensor) -> Tensor:
        outcome: Tensor = self.head(self.body(x))
        return outcome


Build = Callable[[nn.Module, Batching], LearningAlgorithm]
OF_HEADS: dict[str, Build] = {
    "maml": lambda network, batching: GradientLearner(network, sgd(0.4), 3, batching=batching),
    "fomaml": lambda network, batching: GradientLearner(network, sgd(0.4), 3, order=1, batching=batching),
    "anil": lambda network, batching: GradientLearner(network, sgd(0.4), 3, adapts="head", batching=batching),
    "reptile": lambda network, batching: ReptileLearner(network, sgd(0.4), 3, batching=batching),
}
OF_FEATURES: dict[str, Build] = {
    "prototypical": lambda network, batching: PrototypicalLearner(network, batching=batching),
    "matching": lambda network, batching: MatchingLearner(network, batching=batching),
}


def gradient(
    build: Build, network: nn.Module, batching: Batching, task: Task, values: dict[str, Tensor]
) -> Tensor:
    """All entries that a norm does not cancel, in one vector."""
    network.load_state_dict(values, strict=False)
    found = meta_gradient(build(network.to(task.query.x.dtype), batching), task)[1]
    entries = [g.double().flatten() for name, g in sorted(found.items()) if "conv.bias" not in name]
    return torch.cat(entries)


@pytest.mark.parametrize(
    ("name", "planes"), [*((name, 1) for name in [*OF_HEADS, *OF_FEATURES]), ("maml", 3), ("prototypical", 3)]
)
def test_float32_deviates_from_float64_by_no_more_than_twice_what_a_loop_does(name: str, planes: int) -> None:
    build, ways = (OF_HEADS | OF_FEATURES)[name], 5 if name in OF_HEADS else None
    ours, loops = [], []
    for seed in SEEDS:
        y = torch.arange(5)[None]
        double = Task(*(Examples(numbers(1, 5, planes, 28, 28, seed=seed + 50 * i), y) for i in range(2)))
        single = Task(*(Examples(part.x.float(), y) for part in double))
        torch.manual_seed(seed)
        values = Conv4(ways, channels=planes, filters=FILTERS).state_dict()
        right = gradient(build, PlainConv4(ways, planes), "loop", double, values)
        by_kernels = gradient(build, Conv4(ways, channels=planes, filters=FILTERS), "auto", single, values)
        by_loop = gradient(build, PlainConv4(ways, planes), "loop", single, values)
        ours.append(float((by_kernels - right).norm() / right.norm()))
        loops.append(float((by_loop - right).norm() / right.norm()))
    assert median(ours) < 2 * median(loops)
    assert median(ours) < 1e-4


@needs_kernels
@pytest.mark.parametrize("side", [84, 400])
@pytest.mark.parametrize(("channels", "downsample"), [(16, "pool"), (16, "stride"), (3, "pool")])
def test_a_block_is_as_exact_on_large_maps(channels: int, downsample: str, side: int) -> None:
    """Its output and first and second derivatives by filter, scale and shift: sums over up to 160,000 pixels."""
    torch.manual_seed(0)
    block = ConvBlock(channels, FILTERS, downsample, BatchNorm(FILTERS))  # type: ignore[arg-type]
    names = ("conv.weight", "norm.weight", "norm.bias")
    values = [block.get_parameter(name).detach().double() for name in names]
    x = numbers(1, channels, side, side, seed=1).abs()

    def by_torchs_layers(weight: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        z = nn.functional.conv2d(x.to(weight.dtype), weight, None, block.conv.stride, 1)
        y = nn.functional.batch_norm(z, None, None, scale, shift, training=True, eps=block.norm.eps).relu()
        return nn.functional.max_pool2d(y, 2) if block.pool else y

    def by_kernels(*values: Tensor) -> Tensor:
        outcome: Tensor = functional_call(block, dict(zip(names, values, strict=True)), (x.float(),))
        return outcome

    right = derivatives(by_torchs_layers, values, 2)
    single = [value.float() for value in values]
    found, torchs = (derivatives(f, single, 2) for f in (by_kernels, by_torchs_layers))
    for a, b, c in zip(found, torchs, right, strict=True):
        assert deviation([a], [c]) <= 2 * deviation([b], [c])
