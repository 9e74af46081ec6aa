"""`ConvBlock` by the kernels is `ConvBlock` by torch: every mode, shape, batching and derivative."""

import copy
from typing import Any, get_args

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, grad, jvp, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.flop_counter import FlopCounterMode

from fphi import native
from fphi.networks.batch_norm import BatchNorm, Mode, network_pass
from fphi.networks.calibration import calibrate
from fphi.networks.conv4 import Conv4, ConvBlock
from fphi.networks.relation import RelationModule
from native_helpers import derivatives, needs_kernels, numbers, pure_torch

pytestmark = needs_kernels


def a_block(
    channels: int = 16,
    filters: int = 32,
    downsample: Any = "pool",
    mode: Mode = "query-batch",
    affine: Any = "scale+shift",
) -> ConvBlock:
    torch.manual_seed(0)
    block = ConvBlock(channels, filters, downsample, BatchNorm(filters, mode, affine)).double()
    for parameter in block.norm.parameters():
        torch.nn.init.normal_(parameter)  # scales below 0 too
    return block


def by_both(block: torch.nn.Module, x: Tensor, order: int = 2) -> tuple[list[Tensor], list[Tensor]]:
    """Outcome and derivatives by all parameters and the input, by the kernels and by torch."""
    parameters = dict(block.named_parameters())

    def call(x: Tensor, *values: Tensor) -> Tensor:
        outcome: Tensor = functional_call(block, dict(zip(parameters, values, strict=True)), (x,))
        return outcome

    found = derivatives(call, (x, *parameters.values()), order)
    with pure_torch():
        return found, derivatives(call, (x, *parameters.values()), order)


def agree(found: list[Tensor], right: list[Tensor]) -> bool:
    """To 1e-10 of the largest entry: the gradient by a bias that a norm cancels is 0, or nearly."""
    scale = max(float(a.abs().max()) for a in right)
    pairs = zip(found, right, strict=True)
    return all(float((a - b).abs().max()) <= 1e-10 * max(scale, 1) for a, b in pairs)


@pytest.mark.parametrize("affine", ["scale+shift", "shift", "none"])
@pytest.mark.parametrize("downsample", ["pool", "stride", "none"])
@pytest.mark.parametrize("mode", get_args(Mode))
def test_every_mode(mode: Mode, downsample: str, affine: str) -> None:
    block, x = a_block(mode=mode, downsample=downsample, affine=affine), numbers(5, 16, 6, 7, seed=1)
    with network_pass(support_rows=3, step=0):
        assert agree(*by_both(block, x))


@pytest.mark.parametrize("mode", ["query-batch", "support", "running"])
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_few_channels(channels: int, mode: Mode) -> None:
    block, x = a_block(channels, mode=mode), numbers(4, channels, 9, 8, seed=1)
    with network_pass(support_rows=3):
        assert agree(*by_both(block, x))  # with the gradient by the images
        constant = derivatives(
            lambda w: functional_call(block, {"conv.weight": w}, (x,)), [block.conv.weight], 2
        )
        with pure_torch():
            assert agree(constant, derivatives(
                lambda w: functional_call(block, {"conv.weight": w}, (x,)), [block.conv.weight], 2
            ))  # fmt: skip


def test_stored_statistics() -> None:
    network = Conv4(3, filters=16, norm="running").double()
    calibrate(network, [numbers(6, 1, 28, 28, seed=1)])
    network.eval()
    assert agree(*by_both(network, numbers(4, 1, 28, 28, seed=2)))


def of_images(downsample: Any) -> tuple[torch.nn.Module, Any]:
    network = Conv4(3, filters=16, downsample=downsample, norm="running")
    return network, [numbers(6, 1, 28, 28, seed=1), numbers(3, 1, 28, 28, seed=2)]


def of_pairs() -> tuple[torch.nn.Module, Any]:
    module = RelationModule(16, 5, filters=16, norm="running")
    return module, [(numbers(4, 16, 5, 5, seed=1), numbers(3, 16, 5, 5, seed=2))]


@pytest.mark.parametrize(
    "made",
    [lambda: of_images("pool"), lambda: of_images("stride"), of_pairs],
    ids=["pool", "stride", "pairs"],
)
def test_calibration_takes_the_moments_that_the_kernels_normalise_with(made: Any) -> None:
    network, batches = made()
    network.double()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)  # biases, and scales below 0
    by_torch = copy.deepcopy(network)

    def call(of: torch.nn.Module) -> Any:
        return (lambda pair: of(*pair)) if isinstance(batches[0], tuple) else of

    calibrate(network, batches, call(network))
    with pure_torch():
        calibrate(by_torch, batches, call(by_torch))
    assert float(max(b.abs().max() for b in by_torch.buffers())) > 0.1
    assert agree(list(network.buffers()), list(by_torch.buffers()))


@pytest.mark.parametrize("name", ["running_mean", "running_var"])
def test_derivatives_by_stored_statistics_under_vmap(name: str) -> None:
    block, x = (
        a_block(mode="running").eval().requires_grad_(requires_grad=False),
        numbers(2, 4, 16, 6, 6, seed=1),
    )
    stacked = numbers(2, 32, seed=2).exp().requires_grad_()

    def loss(statistics: Tensor) -> Tensor:
        outcomes: Tensor = vmap(lambda s, x: functional_call(block, {f"norm.{name}": s}, (x,)))(statistics, x)
        return outcomes.square().sum()

    def found() -> list[Tensor]:
        return [grad(loss)(stacked.detach()), *torch.autograd.grad(loss(stacked), stacked)]

    with pure_torch():
        right = found()
    assert agree(found(), right)
    assert float(right[0].abs().max()) > 1


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("channels", [1, 16])
def test_tasks_batched(channels: int, shared: bool) -> None:
    block, x = a_block(channels), numbers(3, 4, channels, 6, 6, seed=1)
    parameters = {
        name: p if shared else torch.stack([p * (1 + 0.1 * i) for i in range(3)])
        for name, p in block.named_parameters()
    }

    def one(x: Tensor, values: dict[str, Tensor]) -> Tensor:
        outcome: Tensor = functional_call(block, values, (x,))
        return outcome

    dims = (0, None if shared else 0)
    names = list(parameters)

    def batched(*values: Tensor) -> Tensor:
        return vmap(one, in_dims=dims)(x, dict(zip(names, values, strict=True)))

    def looped(*values: Tensor) -> Tensor:
        own = [dict(zip(names, (v if shared else v[i] for v in values), strict=True)) for i in range(3)]
        return torch.stack([one(a, p) for a, p in zip(x, own, strict=True)])

    values = list(parameters.values())
    assert agree(derivatives(batched, values, 2), derivatives(looped, values, 2))


def test_gradients_of_each_example() -> None:
    block, x = a_block(), numbers(3, 4, 16, 6, 6, seed=1)
    parameters = {name: p.detach() for name, p in block.named_parameters()}

    def loss(values: dict[str, Tensor], x: Tensor) -> Tensor:
        outcome: Tensor = functional_call(block, values, (x,))
        return outcome.square().sum()

    found = vmap(grad(loss), in_dims=(None, 0))(parameters, x)
    with pure_torch():
        right = vmap(grad(loss), in_dims=(None, 0))(parameters, x)
    assert agree(list(found.values()), list(right.values()))


@pytest.mark.parametrize(("channels", "downsample"), [(1, "pool"), (3, "stride"), (16, "pool"), (16, "none")])
@pytest.mark.parametrize("mode", ["query-batch", "running"])
def test_gradients_of_each_example_within_whose_loss_others_are_closed_over(
    mode: Mode, channels: int, downsample: str
) -> None:
    """A derivative is taken inside of ``vmap``, of what it does not batch, and another ``vmap`` inside that."""
    block = a_block(channels, 16, downsample, mode).requires_grad_(requires_grad=False)
    x = numbers(3, 4, channels, 6, 6, seed=1)

    def of_each(name: str, value: Tensor, factors: Tensor | None) -> Tensor:
        def loss(value: Tensor, x: Tensor) -> Tensor:
            outcome: Tensor = functional_call(block, {name: value}, (x,))
            return outcome.square().sum()

        def losses(value: Tensor, x: Tensor) -> Tensor:
            return loss(value, x) if factors is None else vmap(lambda f: f * loss(value, x))(factors).sum()

        found: Tensor = vmap(lambda x: grad(lambda value: losses(value, x))(value))(x)
        return found

    for name, value in block.named_parameters():
        for factors in (None, numbers(2, seed=2)):
            found = of_each(name, value, factors)
            with pure_torch():
                assert agree([found], [of_each(name, value, factors)])


@pytest.mark.filterwarnings(
    "ignore:.*torch.jit.script:DeprecationWarning"
)  # of torch, where jvp is first used
def test_forward_mode_is_torchs() -> None:
    block, x = a_block(), numbers(3, 16, 6, 6, seed=1)
    found = jvp(block, (x,), (numbers(3, 16, 6, 6, seed=2),))
    with pure_torch():
        right = jvp(block, (x,), (numbers(3, 16, 6, 6, seed=2),))
    assert all(torch.equal(a, b) for a, b in zip(found, right, strict=True))


@pytest.mark.parametrize(
    ("x", "filters"),
    [
        (torch.ones(2, 16, 6, 6, dtype=torch.bfloat16), 16),
        (torch.ones(2, 16, 6, 6), 24),
        (torch.ones(0, 16, 6, 6), 16),
        (torch.ones(2, 16, 1, 1), 16),
        (torch.ones(2, 16, 6, 6, device="meta"), 16),
    ],
    ids=["type", "filters", "no rows", "too small", "device"],
)
def test_what_is_not_covered_goes_the_general_way(x: Tensor, filters: int) -> None:
    weight = torch.ones(filters, 16, 3, 3, dtype=x.dtype, device=x.device)
    block = native.Block(native.Geometry(1, 1), native.NormPool(2, 2, 1e-5))
    ones = torch.ones(filters, dtype=x.dtype, device=x.device)
    norm = native.Norm(ones, ones)
    assert not native.covers(x, weight, norm, block)


@pytest.mark.parametrize(
    "norm",
    [
        native.Norm(torch.ones(16), torch.ones(32)),
        native.Norm(torch.ones(32), torch.ones(16)),
        native.Norm(torch.ones(1), torch.ones(1)),
        native.Norm(torch.ones(32), torch.ones(32).double()),
        native.Norm(torch.ones(32), torch.ones(32), (torch.ones(16), torch.ones(32))),
        native.Norm(torch.ones(32), torch.ones(32), (torch.ones(32), torch.ones(32).double())),
        native.Norm(torch.ones(32), torch.ones(32), (torch.ones(32).requires_grad_(), torch.ones(32))),
        native.Norm(torch.ones(32, device="meta"), torch.ones(32)),
    ],
)
def test_a_norm_that_does_not_fit_goes_the_general_way(norm: native.Norm) -> None:
    x, weight = torch.ones(2, 16, 6, 6), torch.ones(32, 16, 3, 3)
    block = native.Block(native.Geometry(1, 1), native.NormPool(2, 2, 1e-5))
    assert native.covers(x, weight, native.Norm(torch.ones(32), torch.ones(32)), block)
    assert not native.covers(x, weight, norm, block)


def test_what_watches_torchs_operations_sees_them() -> None:
    block, x = a_block().requires_grad_(requires_grad=False), numbers(2, 16, 6, 6, seed=1)
    with FlopCounterMode(display=False) as counter:
        block(x)
    assert counter.get_total_flops() == 2 * (2 * 6 * 6) * (9 * 16) * 32
    recorded = make_fx(block)(x)
    assert agree([recorded(2 * x)], [block(2 * x)])


def test_autocast_goes_the_general_way() -> None:
    block, x = a_block().float(), torch.ones(2, 16, 6, 6)
    with torch.autocast("cpu", torch.bfloat16):
        found = block(x)
    with pure_torch(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(found, block(x))


@pytest.mark.parametrize("channels", [1, 16])
def test_statistics_of_no_rows_are_nan(channels: int) -> None:
    block = a_block(channels, mode="support")
    with network_pass(support_rows=0):
        assert block(numbers(3, channels, 8, 8, seed=1)).isnan().all()


def test_a_default_device_is_for_new_tensors_alone() -> None:
    network, x = Conv4(3, filters=16).double(), numbers(2, 1, 28, 28, seed=1)
    found = network(x)
    with torch.device("meta"):
        assert torch.equal(network(x), found)


def test_torchs_compiler_takes_a_network_as_one_graph() -> None:
    network = Conv4(3, image_size=16, filters=16, norm="running").double().eval()
    compiled, x = torch.compile(network, fullgraph=True, backend="eager"), numbers(2, 1, 16, 16, seed=1)
    with pure_torch():  # the library is looked for anew after it
        right = network(x)
    torch.testing.assert_close(compiled(x), right)


@pytest.mark.parametrize("channels", [1, 3, 16])
def test_the_same_bits_from_run_to_run_and_for_any_batch(channels: int) -> None:
    block = a_block(channels, 64).float().requires_grad_(requires_grad=False)
    x = numbers(3, 4, channels, 6, 6, seed=1, dtype=torch.float32)
    filters = block.conv.weight * torch.tensor([1.0, 0.9, 0.7])[:, None, None, None, None]

    def found(count: int) -> list[Tensor]:
        def outcome(weight: Tensor) -> Tensor:
            y: Tensor = vmap(lambda w, x: functional_call(block, {"conv.weight": w}, (x,)))(weight, x[:count])
            return y

        return derivatives(outcome, [filters[:count]], 2)

    batched = vmap(block)(x)
    assert torch.equal(batched, vmap(block)(x))
    assert torch.equal(batched, torch.stack([copy.deepcopy(block)(a) for a in x]))
    for count in (1, 2):
        assert all(torch.equal(a[0], b[0]) for a, b in zip(found(count), found(3), strict=True))
