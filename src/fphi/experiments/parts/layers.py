"""What the layers of a network give, with the parameters of a task in place of its own."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from fphi.errors import FphiError

__all__ = ["layer_outputs"]


@torch.no_grad()
def layer_outputs(network: nn.Module, parameters: Mapping[str, Tensor], x: Tensor) -> dict[str, Tensor]:
    """The outputs ``[n, *d]`` of the layers that have parameters, in order, the last being the head's.

    Args:
        network: with ``body``, whose children are the layers, and ``head``.
        parameters: by name, in place of the network's own.
        x: ``[n, *input]``.

    Raises:
        FphiError: the network has no body and head.
    """
    if not (hasattr(network, "body") and hasattr(network, "head")):
        raise FphiError(f"layers are those of a network with .body and .head, not {type(network).__name__}")
    layers = {f"layer {name}": layer for name, layer in _numbered(network.get_submodule("body"))}
    layers["head"] = network.get_submodule("head")
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        return lambda module, inputs, output: found.update({name: output})

    hooks = [layer.register_forward_hook(keep(name)) for name, layer in layers.items()]
    try:
        functional_call(network, dict(parameters), (x,))
    finally:
        for hook in hooks:
            hook.remove()
    return {name: found[name] for name in layers}


def _numbered(body: nn.Module) -> list[tuple[int, nn.Module]]:
    learning = [layer for layer in body.children() if any(True for _ in layer.parameters())]
    return list(enumerate(learning, 1))
