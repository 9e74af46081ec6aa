"""A convolution block whose layers somebody changed computes what they compute."""

import copy
import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from fphi.learnable import GradientLearner, PrototypicalLearner
from fphi.networks import Conv4, ConvBlock
from fphi.networks.batch_norm import BatchNorm
from fphi.networks.relation import RelationModule
from fphi.objective import meta_gradient
from fphi.tasks.types import Examples, Task
from fphi.within import sgd

Change = Callable[[ConvBlock], object]


def pruned(block: ConvBlock) -> None:
    prune.l1_unstructured(block.conv, "weight", 0.3)  # type: ignore[no-untyped-call]


def old_spectral_norm(block: ConvBlock) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nn.utils.spectral_norm(block.conv)


def reflecting(block: ConvBlock) -> None:
    block.conv = nn.Conv2d(16, 16, 3, padding=1, padding_mode="reflect")


def dilated(block: ConvBlock) -> None:
    block.conv = nn.Conv2d(16, 16, 3, padding=2, dilation=2)


def torchs_norm(block: ConvBlock) -> None:
    block.norm = nn.BatchNorm2d(16)  # type: ignore[assignment]


def weighted(block: ConvBlock) -> None:
    parametrizations.weight_norm(block.conv)


def uneven(block: ConvBlock) -> None:
    block.conv.stride = (2, 1)


def striding(block: ConvBlock) -> None:
    block.conv.stride = (2, 2)


def wide(block: ConvBlock) -> None:
    block.conv = nn.Conv2d(block.conv.in_channels, 16, 5, padding=1)


class Standardised(nn.Conv2d):
    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        z: Tensor = super()._conv_forward(x, weight - weight.mean((1, 2, 3), keepdim=True), bias)
        return z


def of_another_class(block: ConvBlock) -> None:
    block.conv = Standardised(block.conv.in_channels, 16, 3, padding=1)


def patched(block: ConvBlock) -> None:
    whole = block.conv.forward
    block.conv.forward = lambda x: 2 * whole(x) + 1  # type: ignore[method-assign, assignment]


class Doubled(BatchNorm):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def norm_of_another_class(block: ConvBlock) -> None:
    block.norm = Doubled(16)


CHANGES = [
    pruned, old_spectral_norm, reflecting, dilated, torchs_norm, weighted, uneven, striding, wide, of_another_class,
    patched, norm_of_another_class,
]  # fmt: skip
FOR_ANY_CHANNELS = [uneven, striding, wide, of_another_class, patched, norm_of_another_class]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("downsample", ["pool", "stride"])
def test_a_changed_block_is_its_layers_one_after_another(change: Change, downsample: str) -> None:
    torch.manual_seed(0)
    block = ConvBlock(16, 16, downsample, BatchNorm(16)).eval()  # type: ignore[arg-type]
    change(block)
    x = torch.rand(3, 16, 8, 8)
    z = block.norm(block.conv(x)).relu()
    torch.testing.assert_close(block(x), F.max_pool2d(z, 2) if downsample == "pool" else z)


@pytest.mark.parametrize("change", FOR_ANY_CHANNELS)
def test_a_changed_block_on_images_is_its_layers_one_after_another(change: Change) -> None:
    torch.manual_seed(0)
    block, x = ConvBlock(1, 16, "pool", BatchNorm(16)), torch.rand(3, 1, 8, 8)
    change(block)
    torch.testing.assert_close(block(x), F.max_pool2d(block.norm(block.conv(x)).relu(), 2))


def test_hooks_are_called() -> None:
    block, seen = ConvBlock(16, 16, "pool", BatchNorm(16)), list[Tensor]()
    before = block(torch.ones(2, 16, 8, 8))
    block.conv.register_forward_hook(lambda m, i, o: seen.append(o))
    block.norm.register_forward_hook(lambda m, i, o: seen.append(o))
    torch.testing.assert_close(block(torch.ones(2, 16, 8, 8)), before)
    assert [tuple(map_.shape) for map_ in seen] == [(2, 16, 8, 8)] * 2


def test_hooks_on_every_module_are_called() -> None:
    block, seen = ConvBlock(16, 16, "pool", BatchNorm(16)), list[str]()
    with nn.modules.module.register_module_forward_hook(lambda m, i, o: seen.append(type(m).__name__)):
        block(torch.ones(2, 16, 8, 8))
    assert seen == ["Conv2d", "BatchNorm", "ConvBlock"]


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("change", [pruned, weighted])
def test_what_a_weight_is_computed_from_is_adapted(change: Change) -> None:
    torch.manual_seed(0)
    network = Conv4(3, image_size=16, filters=16)
    change(network.body[1])  # type: ignore[arg-type]
    x, y = torch.rand(2, 3, 1, 16, 16), torch.arange(3).expand(2, 3)
    learner = GradientLearner(network, sgd(0.4), 1)
    adapted = learner.adapt(Examples(x[0], y[0]))
    moved = [k for k, p in network.named_parameters() if "body.1.conv.p" in k or "weight_orig" in k]
    assert moved
    assert all(not torch.equal(adapted[k], dict(network.named_parameters())[k]) for k in moved)
    _, gradients = meta_gradient(learner, Task(Examples(x, y), Examples(x + 0.1, y)))
    assert all(float(gradients[f"network.{k}"].abs().max()) > 0 for k in moved)


def test_an_embedding_with_pruned_filters_has_gradients_twice() -> None:
    torch.manual_seed(0)
    learner = PrototypicalLearner(Conv4(None, image_size=16, filters=16))
    pruned(learner.network.body[1])  # type: ignore[index, arg-type]
    x, y = torch.rand(2, 6, 1, 16, 16), torch.arange(6).remainder(3).expand(2, 6)
    tasks = Task(Examples(x, y), Examples(x + 0.1, y))
    first, second = (meta_gradient(learner, tasks)[1] for _ in range(2))
    name = "network.body.1.conv.weight_orig"
    assert torch.equal(first[name], second[name])
    assert float(first[name].abs().max()) > 0


def test_pairs_of_maps_go_through_changed_layers_too() -> None:
    torch.manual_seed(0)
    module = RelationModule(channels=16, filters=16, hidden=4, norm="query-batch")
    classes, queries = torch.rand(2, 16, 5, 5), torch.rand(3, 16, 5, 5)
    other = copy.deepcopy(module)
    other.pair.conv.register_forward_hook(lambda m, i, o: None)
    torch.testing.assert_close(other(classes, queries), module(classes, queries))


@pytest.mark.parametrize(
    "changed",
    [
        lambda classes: classes.float(),
        lambda classes: classes.bfloat16(),
        lambda classes: classes[:, :8],
        lambda classes: torch.cat([classes, classes], 1),
    ],
    ids=["float", "bfloat16", "too few channels", "too many channels"],
)
def test_pairs_of_maps_that_do_not_fit_are_torchs_errors(changed: Callable[[Tensor], Tensor]) -> None:
    module = RelationModule(channels=16, filters=16).double()
    classes, queries = (torch.rand(n, 16, 5, 5, dtype=torch.float64) for n in (3, 6))
    assert module(classes, queries).shape == (6, 3)
    with pytest.raises(RuntimeError, match=r"should be the same|to have 16 channels|expected scalar type"):
        module(changed(classes), queries)


@pytest.mark.parametrize("channels", [1, 3, 16])
@pytest.mark.parametrize("native", [True, False])
def test_a_scale_of_exactly_zero_has_the_gradients_of_torchs_own_layers(
    channels: int, native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    block = ConvBlock(channels, 16, "pool", BatchNorm(16)).double()
    wanted = scale, shift, _ = [block.get_parameter(n) for n in ("norm.weight", "norm.bias", "conv.weight")]
    if not native:
        monkeypatch.setattr(block, "_for_kernels", lambda x, weight: None)
    with torch.no_grad():
        scale[::2], scale[1::4], shift[:] = 0.0, -1.0, 0.5
    x = torch.randn(6, channels, 15, 16, dtype=torch.float64)
    found, expected = (
        torch.autograd.grad((y * torch.arange(y.numel()).view(y.shape).cos()).sum(), wanted)
        for y in (block(x), block._module_by_module(x))
    )
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
