"""The network of ENAS's micro space: stacked normal and reduction cells of five two-armed nodes."""

from collections.abc import Collection
from typing import NamedTuple

from torch import Tensor, nn

from fphi.learnable.architecture.supernet import SubgraphNetwork
from fphi.learnable.space import Tokens
from fphi.networks.channels_last import channels_last
from fphi.networks.drop_path import DropPath
from fphi.networks.operations import Norm, operation

__all__ = ["INPUTS", "MicroCell", "MicroCells", "MicroLink", "MicroNetwork", "links_of", "loose_ends"]

# A cell's states: 0 and 1 are the outputs of the two cells before it, its own nodes follow.
INPUTS = 2


class MicroLink(NamedTuple):
    """One arm of a node: an operation on an earlier state."""

    node: int
    arm: int
    source: int
    operation: str

    @property
    def name(self) -> str:
        """Names the parameters of the link."""
        return f"{self.node}{'xy'[self.arm]}_{self.source}_{self.operation}"


class MicroCells(NamedTuple):
    """Links of both kinds of cell: of one architecture, two to a node; or all there are."""

    normal: tuple[MicroLink, ...]
    reduction: tuple[MicroLink, ...]


def links_of(tokens: Tokens, operations: tuple[str, ...]) -> tuple[MicroLink, ...]:
    """The links of one cell from its answers (index, index, operation, operation are four to a node)."""
    return tuple(
        MicroLink(INPUTS + i // 4, i % 4 // 2, tokens[i], operations[tokens[i + 1]])
        for i in range(0, len(tokens), 2)
    )


def loose_ends(links: Collection[MicroLink]) -> list[int]:
    """The nodes that no node takes for its input; the last always is one."""
    used = {link.source for link in links}
    return sorted({link.node for link in links} - used)


class MicroCell(nn.Module):
    """A node is the sum of its two arms; the loose ends, concatenated, go through a 1x1 convolution.

    The convolution of a concatenation is the sum of a convolution of each part, so each node has a 1x1
    convolution of its own, and whichever nodes are loose, theirs make up the whole.

    Args:
        links: that the cell can compute.
        loose: nodes that may be loose ends.
        channels_in: of the two inputs, the older first.
        channels: of all states.
        strides: 2 for an input that is twice as large as the other one.
        reduces: halve the size: operations on the inputs have stride 2.
        norm: normalisation.
        drop_path: highest probability that the result of an operation other than the identity is dropped.
    """

    def __init__(
        self,
        links: Collection[MicroLink],
        loose: Collection[int],
        channels_in: tuple[int, int],
        channels: int,
        strides: tuple[int, int],
        reduces: bool,
        norm: Norm,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.inputs = nn.ModuleList(
            operation("identity", c, channels, stride, norm)
            for c, stride in zip(channels_in, strides, strict=True)
        )
        self.links = nn.ModuleDict(
            {
                link.name: operation(
                    link.operation, channels, channels, 2 if reduces and link.source < INPUTS else 1, norm
                )
                for link in links
            }
        )
        self.loose = nn.ModuleDict(
            {str(node): nn.Conv2d(channels, channels, 1, bias=False) for node in sorted(loose)}
        )
        self.norm = norm(channels)
        self.drop = DropPath(drop_path)

    def forward(self, older: Tensor, newer: Tensor, links: tuple[MicroLink, ...]) -> Tensor:
        """The cell's output from those of the two cells before it, with two links to each node."""
        states = [adapt(x) for adapt, x in zip(self.inputs, (older, newer), strict=True)]
        for x, y in zip(links[::2], links[1::2], strict=True):
            states.append(self._arm(x, states) + self._arm(y, states))
        parts = [self.loose[str(node)](states[node].relu()) for node in loose_ends(links)]
        out: Tensor = self.norm(sum(parts[1:], start=parts[0]))
        return out

    def _arm(self, link: MicroLink, states: list[Tensor]) -> Tensor:
        x: Tensor = self.links[link.name](states[link.source])
        return x if link.operation == "identity" else self.drop(x)


class MicroNetwork(SubgraphNetwork):
    """Stem, cells with a reduction after each third of the normal ones, mean over the image, linear.

    Args:
        cells: links that the network can compute.
        loose: nodes of each kind of cell that may be loose ends.
        operations: names by token.
        layers: normal cells.
        channels: of the first cells; doubled by each reduction.
        dropout: before the linear layer.
        drop_path: see `MicroCell`.
        input_shape: ``C, H, W`` of an image.
        outputs: classes.
        norm: normalisation.
    """

    def __init__(
        self,
        cells: MicroCells,
        loose: tuple[Collection[int], Collection[int]],
        operations: tuple[str, ...],
        *,
        layers: int,
        channels: int,
        dropout: float,
        drop_path: float,
        input_shape: tuple[int, ...],
        outputs: int,
        norm: Norm,
    ) -> None:
        super().__init__()
        self.operations = operations
        third = layers // 3
        self.reduces = [i in (third, 2 * third + 1) for i in range(layers + 2)]
        self.stem = nn.Sequential(
            nn.Conv2d(input_shape[0], 3 * channels, 3, padding=1, bias=False), norm(3 * channels)
        )
        widths, sizes = (3 * channels, 3 * channels), (1, 1)  # of the last two outputs; 1, 1/2, 1/4
        self.cells = nn.ModuleList()
        for reduces in self.reduces:
            channels *= 2 if reduces else 1
            strides = (2 if sizes[0] != sizes[1] else 1, 1)
            self.cells.append(
                MicroCell(cells[reduces], loose[reduces], widths, channels, strides, reduces, norm, drop_path)
            )
            widths, sizes = (widths[1], channels), (sizes[1], sizes[1] * (2 if reduces else 1))
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(channels, outputs))

    def run(self, x: Tensor, tokens: Tokens) -> Tensor:
        half = len(tokens) // 2
        cells = MicroCells(*(links_of(part, self.operations) for part in (tokens[:half], tokens[half:])))
        older = newer = self.stem(channels_last(x))
        for cell, reduces in zip(self.cells, self.reduces, strict=True):
            older, newer = newer, cell(older, newer, cells[reduces])
        out: Tensor = self.head(newer.relu().mean((-2, -1)))
        return out
