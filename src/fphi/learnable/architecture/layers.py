"""The space of layers: the size, stride and number of filters of each, and skip connections between them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import count
from random import Random
from typing import ClassVar

from torch import nn

from fphi.errors import FphiError
from fphi.learnable.architecture.space import ArchitectureSpace, Edge, Graph
from fphi.learnable.space import Decision, FixedSpace, Tokens, lists_as_tuples
from fphi.networks.layers import Layer, LayerNetwork, loose_layers
from fphi.networks.operations import Norm

__all__ = ["LayerSpace"]

_LAYER = re.compile(r"(\d+)x(\d+)/(\d+)x(\d+):(\d+)((?: \+\d+)*)")


@dataclass(frozen=True)
class LayerSpace(FixedSpace, ArchitectureSpace):
    """Convolutional networks layer by layer (Zoph and Le, ICLR 2017, arXiv 1611.01578).

    Of each layer are asked: filter height, filter width, stride height, stride width, number of filters,
    and for each earlier layer whether it is an input. What has a single choice is not asked. A layer takes
    its inputs concatenated, and the image if it has none; layers that are input to none are concatenated
    before the classifier; what is concatenated is padded with zeros to the largest size.

    It samples networks of ``depth`` layers, and knows those of any depth: the number of tokens tells it.

    Args:
        depth: number of layers (paper: 6 at first).
        heights: of a filter; odd, so that padding keeps the size, which strides alone reduce.
        widths: of a filter; odd.
        strides: in each direction; with (1,) they are fixed, as in the paper's first search.
        filters: of a layer (paper: 24, 36, 48, 64).
        skips: whether inputs are chosen; otherwise each layer takes the one before.
    """

    name: ClassVar[str] = "layers"

    depth: int = 6
    heights: tuple[int, ...] = (1, 3, 5, 7)
    widths: tuple[int, ...] = (1, 3, 5, 7)
    strides: tuple[int, ...] = (1, 2, 3)
    filters: tuple[int, ...] = (6, 9, 12, 16)
    skips: bool = True

    def __post_init__(self) -> None:
        """Refuse what no network can be made of."""
        lists_as_tuples(self)
        if self.depth < 1:
            raise FphiError(f"a network of {self.depth} layers is none; give a depth of at least 1")
        for question, values in self._lists.items():
            odd = question.startswith("filter ")
            if not values or min(values) < 1 or len(set(values)) < len(values):
                raise FphiError(f"{question} {values}: give one or more numbers from 1, each once")
            if odd and any(value % 2 == 0 for value in values):
                raise FphiError(f"{question} {values}: give odd numbers, so that padding keeps the size")
        if not self.asked and not (self.skips and self.depth > 1):
            raise FphiError(f"the space {self.name} holds a single network; give something to choose from")

    @property
    def decisions(self) -> tuple[Decision, ...]:
        return _decisions(self)

    @property
    def asked(self) -> dict[str, tuple[int, ...]]:
        """What a layer is asked but for its connections: the questions with more than one choice."""
        return {question: values for question, values in self._lists.items() if len(values) > 1}

    def like(self, tokens: Sequence[int]) -> "LayerSpace":
        """This space with the depth of an architecture, or the next that takes more tokens."""
        depth = next(d for d in count(1) if self._length(d) >= max(1, len(tokens)))
        return self if depth == self.depth else replace(self, depth=depth)

    def check(self, tokens: Sequence[int]) -> Tokens:
        return super(LayerSpace, self.like(tokens)).check(tokens)

    def mutate(self, tokens: Tokens, rng: Random) -> Tokens:
        """Another answer to one question; the depth stays."""
        return super(LayerSpace, self.like(tokens)).mutate(tokens, rng)

    def layers(self, tokens: Tokens) -> list[Layer]:
        """The layers in order."""
        answers = iter(tokens)
        layers: list[Layer] = []
        for number in range(1, self.like(tokens).depth + 1):
            height, width, down, right, filters = (
                values[next(answers)] if len(values) > 1 else values[0] for values in self._lists.values()
            )
            if self.skips:
                sources = tuple(source for source in range(1, number) if next(answers))
            else:
                sources = (number - 1,) if number > 1 else ()
            layers.append(Layer(height, width, down, right, filters, sources))
        return layers

    def text(self, tokens: Tokens) -> str:
        """Of each layer: filter height x width / strides : filters, and the layers that it takes.

        >>> LayerSpace(depth=2).text((1, 2, 0, 1, 3, 0, 0, 0, 0, 0, 1))
        '3x5/1x2:16 | 1x1/1x1:6 +1'
        """
        return " | ".join(
            " ".join([_name(layer), *(f"+{source}" for source in layer.sources)])
            for layer in self.layers(tokens)
        )

    def parse(self, text: str) -> Tokens:
        try:
            tokens = tuple(
                token
                for number, line in enumerate(text.split("|"), start=1)
                for token in self._parsed(line.strip(), number)
            )
        except ValueError:
            tokens = ()
        if tokens and self.text(self.check(tokens)) == text:
            return tokens
        example = self.text((0,) * len(self.decisions))
        raise FphiError(f"{text!r} is no architecture of the space {self.name}; one looks like {example!r}")

    def build(self, tokens: Tokens, input_shape: tuple[int, ...], outputs: int) -> LayerNetwork:
        return self.network(tokens, input_shape, outputs)

    def network(
        self,
        tokens: Tokens,
        input_shape: tuple[int, ...],
        outputs: int | None,
        norm: Norm = nn.BatchNorm2d,
    ) -> LayerNetwork:
        """`build` with a normalisation of one's choice; ``outputs=None`` leaves the linear layer out."""
        return LayerNetwork(self.layers(self.check(tokens)), input_shape, outputs, norm)

    def graphs(self, tokens: Tokens) -> list[Graph]:
        """One graph of the whole network."""
        layers = self.layers(tokens)
        inner = [
            Edge(source, number)
            for number, layer in enumerate(layers, start=1)
            for source in layer.sources or (0,)
        ]
        outer = [Edge(number, len(layers) + 1) for number in loose_layers(layers)]
        nodes = ("image", *(_name(layer) for layer in layers), "output")
        return [Graph("network", nodes, tuple(inner + outer))]

    @property
    def _lists(self) -> dict[str, tuple[int, ...]]:
        """What there is to choose from, by question."""
        return {
            "filter height": self.heights,
            "filter width": self.widths,
            "stride height": self.strides,
            "stride width": self.strides,
            "filters": self.filters,
        }

    def _length(self, depth: int) -> int:
        """The number of tokens of networks of a depth."""
        return depth * len(self.asked) + (depth * (depth - 1) // 2 if self.skips else 0)

    def _parsed(self, line: str, number: int) -> Tokens:
        """The tokens of a layer.

        Raises:
            ValueError: it is none of this space.
        """
        match = _LAYER.fullmatch(line)
        if match is None:
            raise ValueError(line)
        values = zip(self._lists.values(), map(int, match.groups()[:5]), strict=True)
        sizes = tuple(choices.index(value) for choices, value in values if len(choices) > 1)
        words = match[6].split()
        return sizes + tuple(int(f"+{j}" in words) for j in range(1, number) if self.skips)


@lru_cache(maxsize=64)
def _decisions(space: LayerSpace) -> tuple[Decision, ...]:
    """The same names for every layer: a controller answers them with the same weights at any depth."""
    return tuple(
        question
        for number in range(1, space.depth + 1)
        for question in (
            *(Decision(name, len(values), number) for name, values in space.asked.items()),
            *(Decision("skip", 2, number, (source,)) for source in range(1, number) if space.skips),
        )
    )


def _name(layer: Layer) -> str:
    return f"{layer.height}x{layer.width}/{layer.down}x{layer.right}:{layer.filters}"
