"""Convolutions of maps whose channels lie side by side."""

import pytest
import torch
from torch import Tensor, nn

from fphi.networks.channels_last import Convolution, channels_last


def loss_and_gradients(layer: nn.Module, x: Tensor, given: Tensor) -> list[Tensor]:
    y: Tensor = layer(given)
    return [y, *torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])]


@pytest.mark.parametrize("stride", [(2, 2), (1, 2), (3, 1), (1, 1)], ids=str)
@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("inputs", [1, 3, 8])
def test_a_stride_computes_what_torchs_own_layer_does(
    inputs: int, size: int, stride: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    own = Convolution(inputs, 4, size, stride, size // 2).double()
    torchs = nn.Conv2d(inputs, 4, size, stride, size // 2).double()
    torchs.load_state_dict(own.state_dict())
    x = torch.randn(2, inputs, 16, 11, dtype=torch.float64, requires_grad=True)
    # Not side by side for torch's own: that is what it computes wrongly.
    torch.testing.assert_close(loss_and_gradients(own, x, channels_last(x)), loss_and_gradients(torchs, x, x))
