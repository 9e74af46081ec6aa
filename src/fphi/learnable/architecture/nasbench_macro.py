"""The space of NAS-Bench-Macro: a chain of eight layers, each the identity or one of two MobileNet blocks."""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.learnable.architecture.space import ArchitectureSpace, Edge, Graph
from fphi.learnable.space import Decision, FixedSpace, Tokens
from fphi.networks.channels_last import Convolution, channels_last
from fphi.ranges import count

__all__ = ["OPERATIONS_MACRO", "NASBenchMacroSpace"]

OPERATIONS_MACRO = ("identity", "mb3_3x3", "mb6_5x5")
# Expansion and kernel of the inverted residuals among them.
_BLOCKS = {"mb3_3x3": (3, 3), "mb6_5x5": (6, 5)}
_STAGES = (2, 3, 3)  # layers of each; the first of a stage halves the image and doubles the channels


@dataclass(frozen=True)
class NASBenchMacroSpace(FixedSpace, ArchitectureSpace):
    """6,561 networks (Su et al., CVPR 2021, arXiv 2103.11922): stem, eight layers, 1x1 convolution, mean.

    Args:
        channels: of the stem; each of the three stages doubles them (the benchmark's: 32).
        features: channels of the last convolution (the benchmark's: 1280).
    """

    name: ClassVar[str] = "nasbench-macro"

    channels: int = 8
    features: int = count(128, 4096)

    def __post_init__(self) -> None:
        """Refuse networks without channels."""
        if min(self.channels, self.features) < 1:
            raise FphiError(f"channels={self.channels}, features={self.features}: both must be at least 1")

    @property
    def decisions(self) -> tuple[Decision, ...]:
        return _DECISIONS

    def text(self, tokens: Tokens) -> str:
        """The benchmark's own string, a digit for each layer.

        >>> NASBenchMacroSpace().text((2, 2, 2, 1, 2, 2, 2, 0))
        '22212220'
        """
        return "".join(map(str, tokens))

    def parse(self, text: str) -> Tokens:
        if len(text) != sum(_STAGES) or not set(text) <= set("012"):
            raise FphiError(
                f"{text!r} is no network of NAS-Bench-Macro: eight digits from 0 to 2, as '22212220', are"
            )
        return tuple(map(int, text))

    def build(self, tokens: Tokens, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        layers: list[nn.Module] = [_convolution(input_shape[0], self.channels, 3), nn.ReLU()]
        channels, left = self.channels, list(self.check(tokens))
        for depth in _STAGES:
            for layer in range(depth):
                wider, stride = (2 * channels, 2) if layer == 0 else (channels, 1)
                layers.append(_layer(OPERATIONS_MACRO[left.pop(0)], channels, wider, stride))
                channels = wider
        head = [_convolution(channels, self.features, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        return _Chain(*layers, *head, nn.Linear(self.features, outputs))

    def graphs(self, tokens: Tokens) -> list[Graph]:
        names = ("input", "stem", *(str(i + 1) for i in range(len(tokens))), "output")
        labels = ("conv_3x3", *(OPERATIONS_MACRO[token] for token in tokens), "conv_1x1, mean, linear")
        ends = pairwise(range(len(names)))
        edges = tuple(Edge(*end, label) for end, label in zip(ends, labels, strict=True))
        return [Graph("network", names, edges)]


class _Chain(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = super().forward(channels_last(x))  # type: ignore[no-untyped-call]
        return out


class InvertedResidual(nn.Module):
    """Widen by a 1x1 convolution, filter each channel, narrow without ReLU; added to its input if it fits."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, expansion: int, size: int) -> None:
        super().__init__()
        wide = expansion * channels_in
        self.body = nn.Sequential(
            *(_convolution(channels_in, wide, 1), nn.ReLU()),
            *(_convolution(wide, wide, size, stride, groups=wide), nn.ReLU()),
            _convolution(wide, channels_out, 1),
        )
        self.residual = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x)
        return x + out if self.residual else out


def _layer(name: str, channels_in: int, channels_out: int, stride: int) -> nn.Module:
    if name in _BLOCKS:
        return InvertedResidual(channels_in, channels_out, stride, *_BLOCKS[name])
    if stride == 1 and channels_in == channels_out:
        return nn.Identity()
    return _convolution(channels_in, channels_out, 1, stride)


def _convolution(ci: int, co: int, size: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        Convolution(ci, co, size, stride, size // 2, groups=groups, bias=False), nn.BatchNorm2d(co)
    )


_DECISIONS = tuple(Decision("operation", len(OPERATIONS_MACRO), part=i + 1) for i in range(sum(_STAGES)))
