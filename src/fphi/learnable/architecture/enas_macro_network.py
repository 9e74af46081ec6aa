"""The network of ENAS's macro space: a chain of layers, each one of six branches, with skip connections."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from fphi.learnable.architecture.supernet import SubgraphNetwork
from fphi.learnable.space import Tokens
from fphi.networks.channels_last import channels_last
from fphi.networks.operations import FactorizedReduce, Norm, conv_block, operation

__all__ = ["MacroLayer", "MacroNetwork", "layers_of", "pools", "survivors"]


class MacroLayer(NamedTuple):
    """A layer's branch, and the earlier ones added to its output; 0 is the stem, the layers follow."""

    operation: str
    skips: tuple[int, ...]


def layers_of(tokens: Tokens, operations: tuple[str, ...]) -> list[MacroLayer]:
    """The layers from their answers: a branch, then a yes or no for each but the last of those before."""
    layers: list[MacroLayer] = []
    at = 0
    while at < len(tokens):
        bits = tokens[at + 1 : at + 1 + len(layers)]
        layers.append(MacroLayer(operations[tokens[at]], tuple(i for i, bit in enumerate(bits) if bit)))
        at += 1 + len(bits)
    return layers


def pools(layers: int) -> tuple[int, ...]:
    """The layers before which everything is halved: at a third and at two thirds of the depth."""
    third = layers // 3
    return (third + 1, 2 * third + 1) if third else ()


def survivors(layers: list[MacroLayer]) -> dict[int, list[int]]:
    """For each place where everything is halved, the layers before it that are still needed after it."""
    needed = [{number - 1, *layer.skips} for number, layer in enumerate(layers, start=1)]
    return {
        place: sorted({source for later in needed[place - 1 :] for source in later if source < place})
        for place in pools(len(layers))
    }


class MacroNetwork(SubgraphNetwork):
    """Stem, layers, mean over the image, linear. The number of channels is the same everywhere.

    Args:
        branches: that each layer can compute.
        reduced: the layers that may be needed after each place where everything is halved.
        operations: names by token.
        channels: of every layer.
        dropout: before the linear layer.
        input_shape: ``C, H, W`` of an image.
        outputs: classes.
        norm: normalisation.
    """

    def __init__(
        self,
        branches: Sequence[Collection[str]],
        reduced: Mapping[int, Collection[int]],
        operations: tuple[str, ...],
        *,
        channels: int,
        dropout: float,
        input_shape: tuple[int, ...],
        outputs: int,
        norm: Norm,
    ) -> None:
        super().__init__()
        self.operations = operations
        self.stem = nn.Sequential(
            nn.Conv2d(input_shape[0], channels, 3, padding=1, bias=False), norm(channels)
        )
        self.layers = nn.ModuleList(
            nn.ModuleDict({name: _branch(name, channels, norm) for name in names}) for names in branches
        )
        self.norms = nn.ModuleList(norm(channels) for _ in branches)
        self.reductions = nn.ModuleDict(
            {
                f"{place}_{source}": FactorizedReduce(channels, channels, norm)
                for place, sources in reduced.items()
                for source in sources
            }
        )
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(channels, outputs))

    def run(self, x: Tensor, tokens: Tokens) -> Tensor:
        layers = layers_of(tokens, self.operations)
        surviving = survivors(layers)
        outs: dict[int, Tensor] = {0: self.stem(channels_last(x))}
        for number, layer in enumerate(layers, start=1):
            if number in surviving:
                outs = {i: self.reductions[f"{number}_{i}"](outs[i]) for i in surviving[number]}
            branches = self.layers[number - 1]
            assert isinstance(branches, nn.ModuleDict)
            out = branches[layer.operation](outs[number - 1])
            for source in layer.skips:
                out = out + outs[source]
            outs[number] = self.norms[number - 1](out)
        logits: Tensor = self.head(outs[len(layers)].relu().mean((-2, -1)))
        return logits


def _branch(name: str, channels: int, norm: Norm) -> nn.Module:
    """A 1x1 convolution, so that a branch sees what fits it, and the operation."""
    return nn.Sequential(
        conv_block(channels, channels, 1, 1, norm), operation(name, channels, channels, 1, norm)
    )
