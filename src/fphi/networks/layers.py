"""Networks of convolutional layers, each on the concatenated outputs of any earlier ones."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from fphi.networks.channels_last import Convolution, channels_last
from fphi.networks.operations import Norm

__all__ = ["Layer", "LayerNetwork", "joined", "loose_layers"]


class Layer(NamedTuple):
    """A convolution, and the earlier layers that it takes, numbered from 1; none: it takes the image.

    Args:
        height, width: of its filters, odd.
        down, right: its strides.
        filters: their number.
        sources: the layers before it that are its input.
    """

    height: int
    width: int
    down: int
    right: int
    filters: int
    sources: tuple[int, ...]


class LayerNetwork(nn.Module):
    """Layers of convolution, normalisation and ReLU; loose outputs; mean over the image; linear.

    Args:
        layers: in order.
        input_shape: ``C, H, W`` of an image.
        outputs: classes; None leaves the linear layer out.
        norm: normalisation.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        input_shape: tuple[int, ...],
        outputs: int | None,
        norm: Norm = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        self.sources = [layer.sources for layer in layers]
        self.loose = loose_layers(layers)

        def channels(sources: Sequence[int]) -> int:
            return sum(layers[source - 1].filters for source in sources)

        self.layers = nn.ModuleList(
            _convolution(layer, channels(layer.sources) or input_shape[0], norm) for layer in layers
        )
        self.features = channels(self.loose)
        self.head = nn.Identity() if outputs is None else nn.Linear(self.features, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """``[n, C, H, W]`` to ``[n, outputs]``."""
        x = channels_last(x)
        outs: list[Tensor] = []
        for layer, sources in zip(self.layers, self.sources, strict=True):
            outs.append(layer(joined([outs[source - 1] for source in sources]) if sources else x))
        answer: Tensor = self.head(joined([outs[number - 1] for number in self.loose]).mean((-2, -1)))
        return answer


def loose_layers(layers: Sequence[Layer]) -> list[int]:
    """The layers, from 1, that no layer takes for its input; the last is one of them."""
    taken = {source for layer in layers for source in layer.sources}
    return [number for number in range(1, len(layers) + 1) if number not in taken]


def joined(images: Sequence[Tensor]) -> Tensor:
    """Images of any sizes as one, channel after channel; zeros around those smaller than the largest."""
    height, width = (max(image.shape[side] for image in images) for side in (-2, -1))
    return torch.cat([_centred(image, height, width) for image in images], 1)


def _centred(image: Tensor, height: int, width: int) -> Tensor:
    below, beside = height - image.shape[-2], width - image.shape[-1]
    return pad(image, (beside // 2, beside - beside // 2, below // 2, below - below // 2))


def _convolution(layer: Layer, channels: int, norm: Norm) -> nn.Sequential:
    # Padded by half a filter, an image of size n becomes one of size n / stride, rounded up: never below 1.
    return nn.Sequential(
        Convolution(
            channels,
            layer.filters,
            (layer.height, layer.width),
            (layer.down, layer.right),
            (layer.height // 2, layer.width // 2),
            bias=False,
        ),
        norm(layer.filters),
        nn.ReLU(),
    )
