"""Mixtures: every operation of an edge at once, weighted, so that the choice among them has a gradient."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fphi.networks.cells import INPUTS
from fphi.networks.operations import Norm, conv_block, operation

__all__ = ["MixedCell", "MixedOperation", "Way", "fixed_norm", "mixed_node", "ways"]


class Way(NamedTuple):
    """A pair of states with all operations between them."""

    start: int
    end: int


def ways(nodes: int, inputs: int = INPUTS) -> tuple[Way, ...]:
    """From every state of a cell to every later node, by the later one, then by the earlier one.

    >>> len(ways(4))
    14
    """
    return tuple(Way(start, end) for end in range(inputs, inputs + nodes) for start in range(end))


def fixed_norm(channels: int) -> nn.Module:
    """A batch norm that learns no scale, which would undo the weights of a mixture."""
    return nn.BatchNorm2d(channels, affine=False)


class MixedOperation(nn.Module):
    """Σ of the operations on one input, each times its weight.

    Args:
        operations: by name, in the order of the weights; "none" is a weight that goes nowhere.
    """

    def __init__(self, operations: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.operations = nn.ModuleDict(operations)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """``x: [n, C, H, W]`` and ``weights: [operations]`` to what the operations make of it."""
        parts = [
            weight * operate(x)
            for (name, operate), weight in zip(self.operations.items(), weights.unbind(), strict=True)
            if name != "none"
        ]
        total: Tensor = sum(parts[1:], start=parts[0])
        return total


class MixedCell(nn.Module):
    """Two inputs and nodes that each add a mixture of every state before; the nodes are concatenated.

    The inputs are adapted as those of `Cell` are.

    Args:
        names: of the operations of every mixture.
        nodes: how many.
        channels_in: of the two inputs, the older first.
        channels: of every node.
        halve_older: whether the older input is twice as large as the newer.
        reduces: halve the size: what takes an input has stride 2.
        norm: normalisation.
    """

    def __init__(
        self,
        names: Sequence[str],
        nodes: int,
        channels_in: tuple[int, int],
        channels: int,
        *,
        halve_older: bool,
        reduces: bool,
        norm: Norm = fixed_norm,
    ) -> None:
        super().__init__()
        self.reduces, self.ways = reduces, ways(nodes)
        older, newer = channels_in
        self.inputs = nn.ModuleList(
            [
                operation("identity", older, channels, 2, norm)
                if halve_older
                else conv_block(older, channels, 1, 1, norm),
                conv_block(newer, channels, 1, 1, norm),
            ]
        )
        self.edges = nn.ModuleList(
            MixedOperation(
                {
                    name: operation(
                        name, channels, channels, 2 if reduces and way.start < INPUTS else 1, norm
                    )
                    for name in names
                }
            )
            for way in self.ways
        )
        self.channels_out = nodes * channels

    def forward(self, older: Tensor, newer: Tensor, weights: Tensor) -> Tensor:
        """The outputs of the two cells before, and ``weights: [edges, operations]``, to the cell's output."""
        states = [adapt(x) for adapt, x in zip(self.inputs, (older, newer), strict=True)]
        for end in range(INPUTS, self.ways[-1].end + 1):
            states.append(mixed_node(self.edges, self.ways, end, states, weights))
        return torch.cat(states[INPUTS:], 1)


def mixed_node(
    edges: nn.ModuleList, pairs: Sequence[Way], end: int, states: list[Tensor], weights: Tensor
) -> Tensor:
    """The sum of the mixtures that end at node ``end``."""
    parts = [
        edge(states[way.start], weight)
        for edge, way, weight in zip(edges, pairs, weights.unbind(), strict=True)
        if way.end == end
    ]
    total: Tensor = sum(parts[1:], start=parts[0])
    return total
