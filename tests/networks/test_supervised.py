"""The networks for one large task: their sizes, what they take, and that they learn."""

import pytest
import torch
from torch import nn

from fphi.errors import FphiError
from fphi.networks.resnet import ResNet
from fphi.networks.supervised import NETWORKS, network_for
from fphi.within.trained import parameter_count


def test_resnets_have_the_published_sizes() -> None:
    """He et al., table 6: 0.27 million parameters of ResNet-20, 0.46 of ResNet-32, for CIFAR-10."""
    counts = {name: parameter_count(network_for(name, (3, 32, 32), 10)) for name in ("resnet20", "resnet32")}
    assert counts == {"resnet20": 269_722, "resnet32": 464_154}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 28, 28)])
def test_networks_take_images_of_any_size(name: str, shape: tuple[int, ...]) -> None:
    network = network_for(name, shape, 7)
    assert network(torch.randn(3, *shape)).shape == (3, 7)


def test_a_block_that_changes_nothing_passes_its_input_on() -> None:
    network = ResNet(2, channels=1, filters=4)
    block = network.body[1]
    for part in block.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.zeros_(part.weight)
    x = torch.rand(2, 4, 7, 7)
    found = block.eval()(x)
    assert torch.equal(found[:, :4], x[:, :, ::2, ::2])
    assert not found[:, 4:].any()


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("alexnet", (1, 8, 8), "--network is 'alexnet'; choose one of auto, mlp"),
        ("lenet", (1, 7, 8), "sides of at least 8, not"),
        ("resnet8", (12,), "takes images, not examples of shape"),
    ],
)
def test_what_no_network_takes_is_refused(name: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(FphiError, match=message):
        network_for(name, shape, 2)


def test_vectors_have_an_mlp() -> None:
    assert network_for("auto", (12,), 3)(torch.randn(5, 12)).shape == (5, 3)
