"""The network around the cells of NAS-Bench-201, and a cell of it."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from fphi.networks.channels_last import channels_last
from fphi.networks.mixture import MixedOperation, fixed_norm, mixed_node, ways
from fphi.networks.operations import Norm, conv_block, operation

__all__ = ["Cell201", "MixedCell201", "Network201", "ResidualReduction", "operation_201"]

# Operations by the benchmark's names.
_NAMES = {
    "none": "none",
    "skip_connect": "identity",
    "nor_conv_1x1": "conv_1x1",
    "nor_conv_3x3": "conv_3x3",
    "avg_pool_3x3": "avg_pool_3x3",
}
_NODES = 3  # and the input


def operation_201(name: str, channels: int, norm: Norm = nn.BatchNorm2d) -> nn.Module:
    """An operation by the benchmark's name; its pooling is not normalised."""
    kept: Norm = _no_norm if name == "avg_pool_3x3" else norm
    return operation(_NAMES[name], channels, channels, 1, kept)


class Cell201(nn.Module):
    """Four nodes, an operation on each of the six edges; a node is the sum of what comes in.

    Args:
        names: of the operations, by the end of their edge, then by its start.
        channels: of every node.
        norm: normalisation.
    """

    def __init__(self, names: Sequence[str], channels: int, norm: Norm = nn.BatchNorm2d) -> None:
        super().__init__()
        self.edges = nn.ModuleList(operation_201(name, channels, norm) for name in names)
        self.ways = ways(_NODES, inputs=1)

    def forward(self, x: Tensor) -> Tensor:
        """``[n, C, H, W]`` to the same shape."""
        states = [x]
        for end in range(1, _NODES + 1):
            parts = [
                edge(states[way.start])
                for edge, way in zip(self.edges, self.ways, strict=True)
                if way.end == end
            ]
            states.append(torch.stack(parts).sum(0))
        return states[-1]


class MixedCell201(nn.Module):
    """As `Cell201`, with a mixture of operations on each edge.

    Args:
        names: of the operations of every mixture.
        channels: of every node.
        norm: normalisation.
    """

    def __init__(self, names: Sequence[str], channels: int, norm: Norm = fixed_norm) -> None:
        super().__init__()
        self.ways = ways(_NODES, inputs=1)
        self.edges = nn.ModuleList(
            MixedOperation({name: operation_201(name, channels, norm) for name in names}) for _ in self.ways
        )

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """``x: [n, C, H, W]`` and ``weights: [edges, operations]`` to ``[n, C, H, W]``."""
        states = [x]
        for end in range(1, _NODES + 1):
            states.append(mixed_node(self.edges, self.ways, end, states, weights))
        return states[-1]


class ResidualReduction(nn.Module):
    """Two 3x3 convolutions, the first with stride 2, beside a mean of 2x2 and a 1x1 convolution."""

    def __init__(self, channels_in: int, channels_out: int, norm: Norm = nn.BatchNorm2d) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv_block(channels_in, channels_out, 3, 2, norm),
            conv_block(channels_out, channels_out, 3, 1, norm),
        )
        # Rounding up as convolutions do: images may have an odd size.
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False),
            nn.Conv2d(channels_in, channels_out, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``[n, channels_in, H, W]`` to ``[n, channels_out, H/2, W/2]``."""
        out: Tensor = self.shortcut(x) + self.body(x)
        return out


class Network201(nn.Module):
    """Stem, three stages of cells with a residual reduction between them, BN and ReLU, mean, linear.

    Args:
        cell: makes one, of a number of channels.
        input_channels: of an image.
        outputs: classes; None: the network gives features ``[n, 4 * channels]``.
        channels: of the first stage; each reduction doubles them.
        cells: of each stage.
        norm: normalisation.
    """

    def __init__(
        self,
        cell: Callable[[int], nn.Module],
        input_channels: int,
        outputs: int | None,
        *,
        channels: int,
        cells: int,
        norm: Norm = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(input_channels, channels, 3, padding=1, bias=False), norm(channels)
        )
        self.stages = nn.ModuleList(
            nn.ModuleList(cell(channels * 2**stage) for _ in range(cells)) for stage in range(3)
        )
        self.reductions = nn.ModuleList(
            ResidualReduction(channels * 2**stage, channels * 2 ** (stage + 1), norm) for stage in range(2)
        )
        self.last = nn.Sequential(norm(4 * channels), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Identity() if outputs is None else nn.Linear(4 * channels, outputs)

    def forward(self, x: Tensor, *weights: Tensor) -> Tensor:
        """``x: [n, C, H, W]`` to logits ``[n, outputs]``, or features; cells that take weights get these."""
        x = self.stem(channels_last(x))
        for stage, cells in enumerate(self.stages):
            if stage:
                x = self.reductions[stage - 1](x)
            assert isinstance(cells, nn.ModuleList)
            for cell in cells:
                x = cell(x, *weights)
        logits: Tensor = self.head(self.last(x))
        return logits


def _no_norm(channels: int) -> nn.Module:
    return nn.Identity()
