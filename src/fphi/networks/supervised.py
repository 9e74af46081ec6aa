"""The networks that are trained on one large task, by the names of the command line."""

from collections.abc import Callable, Mapping
from math import prod

from torch import nn

from fphi.errors import FphiError
from fphi.networks.lenet import LeNet
from fphi.networks.mlp import MLP
from fphi.networks.resnet import ResNet

__all__ = ["NETWORKS", "network_for"]

_SMALL = 16  # pixels of a side, from which on a residual network is worth its time


def _mlp(input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    return MLP(prod(input_shape), (128, 128), outputs)


def _lenet(input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    return LeNet(outputs, input_shape)


def _resnet(blocks: int, filters: int = 16) -> Callable[[tuple[int, ...], int], nn.Module]:
    def build(input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        if len(input_shape) != 3:
            raise FphiError(f"a resnet takes images, not examples of shape {input_shape}; choose mlp")
        return ResNet(outputs, input_shape[0], filters, blocks)

    return build


def _auto(input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    small = len(input_shape) != 3 or min(input_shape[1:]) < _SMALL
    return (_mlp if small else NETWORKS["resnet8"])(input_shape, outputs)


NETWORKS: Mapping[str, Callable[[tuple[int, ...], int], nn.Module]] = {
    "auto": _auto,
    "mlp": _mlp,
    "lenet": _lenet,
    "resnet8": _resnet(1),
    "resnet14": _resnet(2),
    "resnet20": _resnet(3),
    "resnet32": _resnet(5),
}
"""auto: an MLP for small images and for examples that are none, else resnet8."""


def network_for(name: str, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """A new network, ``[n, *input_shape]`` to ``[n, outputs]``.

    Raises:
        FphiError: there is none of that name, or it does not take such examples.
    """
    if name not in NETWORKS:
        raise FphiError(f"--network is {name!r}; choose one of {', '.join(NETWORKS)}")
    return NETWORKS[name](input_shape, outputs)
