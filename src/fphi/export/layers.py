"""A network as a list of plain layers and their weights, which another program can compute."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.networks import MLP, BatchNorm, Conv4
from fphi.networks.conv4 import ConvBlock
from fphi.networks.relation import RelationModule

__all__ = ["Layer", "Weights", "layers_of"]

Layer = dict[str, Any]

_PLAIN: dict[type[nn.Module], str] = {nn.ReLU: "relu", nn.Sigmoid: "sigmoid", nn.Flatten: "flatten"}


@dataclass
class Weights:
    """Numbers one after the other; a tensor is known by its first place and its count.

    Attributes:
        values: those that are there, each flat.
    """

    values: list[Tensor] = field(default_factory=list)

    def add(self, tensor: Tensor) -> tuple[int, int]:
        """Append a tensor."""
        begin = sum(map(len, self.values))
        self.values.append(tensor.detach().to(torch.float32).cpu().flatten())
        return begin, tensor.numel()

    def packed(self, each: int) -> bytes:
        """All of them in little-endian order, each in 4 bytes or rounded to the upper 3 of these."""
        whole = torch.cat([*self.values, torch.zeros(0)]).numpy().astype("<f4")
        if each == 4:
            return whole.tobytes()
        bits = whole.view("<u4").astype("<u8")
        # To the nearest, and of two to the even one.
        rounded = (bits + 0x7F + ((bits >> 8) & 1)).astype("<u4").view("u1").reshape(-1, 4)
        return bytes(rounded[:, 1:].tobytes())


def layers_of(module: nn.Module, weights: Weights) -> list[Layer]:
    """The layers of a network in evaluation mode, in order.

    Args:
        module: of the layers that fphi's own networks of images are made of.
        weights: what the layers' numbers are added to.

    Raises:
        FphiError: it has another layer, or one with hooks.
    """
    if module._forward_hooks or module._forward_pre_hooks:
        raise FphiError(f"{type(module).__name__} has hooks, which a page cannot compute: use fphi serve")
    if isinstance(module, nn.Identity | nn.Dropout):
        return []
    if isinstance(module, nn.Sequential):
        return [layer for part in module for layer in layers_of(part, weights)]
    if isinstance(module, Conv4 | MLP):
        return [*layers_of(module.body, weights), *layers_of(module.head, weights)]
    if isinstance(module, ConvBlock):
        end = [{"kind": "relu"}, *([{"kind": "pool"}] if module.pool else [])]
        return [*layers_of(module.conv, weights), *layers_of(module.norm, weights), *end]
    if isinstance(module, RelationModule):
        parts = (module.pair, module.block, nn.Flatten(), module.hidden, nn.ReLU(), module.out, nn.Sigmoid())
        return [layer for part in parts for layer in layers_of(part, weights)]
    return [_layer(module, weights)]


def _layer(module: nn.Module, weights: Weights) -> Layer:
    if isinstance(module, nn.Conv2d):
        return _convolution(module, weights)
    if isinstance(module, BatchNorm):
        return _norm(module, weights)
    if isinstance(module, nn.Linear):
        return {"kind": "linear", "outputs": module.out_features, **_own(module, weights)}
    if isinstance(module, nn.AdaptiveAvgPool2d) and module.output_size in (1, (1, 1)):
        return {"kind": "mean"}
    if isinstance(module, nn.MaxPool2d) and (module.kernel_size, module.stride, module.padding) == (2, 2, 0):
        return {"kind": "pool"}
    kind = _PLAIN.get(type(module))
    if kind is None:
        raise FphiError(
            f"the network has a {type(module).__name__}, which a page cannot compute: use fphi serve, or "
            "train with a network such as conv4-pool"
        )
    return {"kind": kind}


def _convolution(module: nn.Conv2d, weights: Weights) -> Layer:
    size, stride, padding = module.kernel_size, module.stride, module.padding
    plain = module.groups == 1 and module.dilation == (1, 1) and module.padding_mode == "zeros"
    if not plain or isinstance(padding, str) or any(a != b for a, b in (size, stride, padding)):
        raise FphiError(f"the network has {module}, which a page cannot compute: use fphi serve")
    shape = {"outputs": module.out_channels, "size": size[0], "stride": stride[0], "padding": padding[0]}
    return {"kind": "conv", **shape, **_own(module, weights)}


def _norm(module: BatchNorm, weights: Weights) -> Layer:
    if module.is_per_step:
        raise FphiError(
            f"the network has norms of mode {module.mode}, which a page cannot compute: use fphi serve"
        )
    layer: Layer = {"kind": "norm", "mode": module.mode, "eps": module.eps, **_own(module, weights)}
    if module.is_running:
        mean, variance = module.stored()
        layer |= {"mean": weights.add(mean), "variance": weights.add(variance)}
    return layer


def _own(module: nn.Module, weights: Weights) -> Layer:
    """Weight and bias, or None."""
    own = {name: getattr(module, name) for name in ("weight", "bias")}
    return {name: None if value is None else weights.add(value) for name, value in own.items()}
