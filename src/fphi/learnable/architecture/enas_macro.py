"""ENAS's macro space: the branch of each layer of a network, and its skip connections."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from fphi.errors import FphiError
from fphi.learnable.architecture.enas_macro_network import (
    MacroLayer,
    MacroNetwork,
    layers_of,
    pools,
    survivors,
)
from fphi.learnable.architecture.space import Edge, Graph
from fphi.learnable.architecture.supernet import SharingSpace
from fphi.learnable.space import Decision, Tokens
from fphi.networks.operations import Norm, batch_statistics

__all__ = ["ENAS_MACRO_OPERATIONS", "EnasMacroSpace"]

ENAS_MACRO_OPERATIONS = (
    "conv_3x3", "conv_5x5", "separable_3x3", "separable_5x5", "avg_pool_3x3", "max_pool_3x3"
)  # fmt: skip


@dataclass(frozen=True)
class EnasMacroSpace(SharingSpace):
    """A whole network: one of six branches for each layer, and skip connections (arXiv 1802.03268).

    A layer is its branch on the layer before, plus the earlier layers it is connected to. Its first
    question is the branch, then there is one for each earlier layer (0 is the stem) but the one before.
    At a third and at two thirds of the depth everything is halved in size.

    Args:
        layers: of the network (paper: 12).
        channels: of every layer (paper: 36).
        dropout: before the linear layer (paper: 0.1).
    """

    name: ClassVar[str] = "enas-macro"

    layers: int = 6
    channels: int = 12
    dropout: float = 0.1

    def __post_init__(self) -> None:
        """Refuse networks with nothing in them."""
        if min(self.layers, self.channels) < 1 or not 0 <= self.dropout < 1:
            raise FphiError(
                f"layers={self.layers}, channels={self.channels}, dropout={self.dropout}: give at least "
                "one of each, and a dropout from 0 to below 1"
            )

    @property
    def decisions(self) -> tuple[Decision, ...]:
        return tuple(
            question
            for layer in range(1, self.layers + 1)
            for question in (
                Decision("operation", len(ENAS_MACRO_OPERATIONS), layer),
                *(Decision("skip", 2, layer, (source,)) for source in range(layer - 1)),
            )
        )

    def parts(self, tokens: Tokens) -> list[MacroLayer]:
        """The layers in order."""
        return layers_of(tokens, ENAS_MACRO_OPERATIONS)

    def text(self, tokens: Tokens) -> str:
        """The layers' branches, each with the earlier layers that are added to it.

        >>> EnasMacroSpace(layers=3).text((0, 5, 1, 2, 1, 0))
        'conv_3x3 | max_pool_3x3 +0 | separable_3x3 +0'
        """
        return " | ".join(
            " ".join([layer.operation, *(f"+{source}" for source in layer.skips)])
            for layer in self.parts(tokens)
        )

    def parse(self, text: str) -> Tokens:
        tokens: Tokens = ()
        for number, words in enumerate(line.split() for line in text.split("|")):
            if words and words[0] in ENAS_MACRO_OPERATIONS:
                skips = [int(f"+{source}" in words[1:]) for source in range(number)]
                tokens += (ENAS_MACRO_OPERATIONS.index(words[0]), *skips)
        if len(tokens) == len(self.decisions) and self.text(tokens) == text:
            return tokens
        example = self.text((0,) * len(self.decisions))
        raise FphiError(f"{text!r} is no architecture of the space {self.name}; one looks like {example!r}")

    def whole(self, input_shape: tuple[int, ...], outputs: int) -> MacroNetwork:
        branches = [ENAS_MACRO_OPERATIONS] * self.layers
        reduced = {place: list(range(place)) for place in pools(self.layers)}
        return self._network(branches, reduced, input_shape, outputs, batch_statistics)

    def subgraph(
        self, tokens: Tokens, input_shape: tuple[int, ...], outputs: int, norm: Norm
    ) -> MacroNetwork:
        layers = self.parts(tokens)
        branches = [(layer.operation,) for layer in layers]
        return self._network(branches, survivors(layers), input_shape, outputs, norm)

    def graphs(self, tokens: Tokens) -> list[Graph]:
        """One graph of the whole network; skip connections have no label."""
        layers = self.parts(tokens)
        edges = [
            edge
            for number, layer in enumerate(layers, start=1)
            for edge in (
                Edge(number - 1, number, layer.operation),
                *(Edge(source, number) for source in layer.skips),
            )
        ]
        names = ("stem", *(str(number) for number in range(1, len(layers) + 1)), "output")
        return [Graph("network", names, (*edges, Edge(len(layers), len(layers) + 1)))]

    def _network(
        self,
        branches: Sequence[tuple[str, ...]],
        reduced: dict[int, list[int]],
        input_shape: tuple[int, ...],
        outputs: int,
        norm: Norm,
    ) -> MacroNetwork:
        return MacroNetwork(
            branches,
            reduced,
            ENAS_MACRO_OPERATIONS,
            channels=self.channels,
            dropout=self.dropout,
            input_shape=input_shape,
            outputs=outputs,
            norm=norm,
        )
