"""Networks of stacked cells, each cell a small graph of operations that is given as data."""

from collections import Counter
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.networks.channels_last import channels_last
from fphi.networks.drop_path import DropPath
from fphi.networks.operations import Norm, conv_block, operation

__all__ = ["INPUTS", "Cell", "CellNetwork", "CellPlan", "CellStack", "Link", "Node"]

# A cell's states by number: 0 and 1 are the outputs of the two cells before it, its nodes follow.
INPUTS = 2


class Link(NamedTuple):
    """An operation, by its name in ``OPERATIONS``, on an earlier state (0: the older input, 1: the newer)."""

    source: int
    operation: str


class Node(NamedTuple):
    """A state that adds its links' results, or concatenates their channels."""

    links: tuple[Link, ...]
    combination: Literal["add", "concat"] = "add"


class CellPlan(NamedTuple):
    """A cell as data.

    Args:
        nodes: in order; node i is state 2 + i.
        output: the states whose concatenation is the cell's output: "all" nodes, the "loose" nodes, which
            no link takes, or all "unused" states, the inputs among them.
    """

    nodes: tuple[Node, ...]
    output: Literal["all", "loose", "unused"] = "loose"

    @property
    def outputs(self) -> tuple[int, ...]:
        """The numbers of the states that are concatenated."""
        states = range(0 if self.output == "unused" else INPUTS, INPUTS + len(self.nodes))
        used = {link.source for node in self.nodes for link in node.links}
        return tuple(state for state in states if self.output == "all" or state not in used)

    @property
    def operations(self) -> Counter[str]:
        """How often each operation occurs."""
        return Counter(link.operation for node in self.nodes for link in node.links)

    def check(self) -> None:
        """Refuse what is no graph from the two inputs on.

        Raises:
            FphiError: there is no node, a node has no links, or a link takes a later state.
        """
        for state, node in enumerate(self.nodes, start=INPUTS):
            if not node.links or not all(0 <= link.source < state for link in node.links):
                raise FphiError(
                    f"state {state} of a cell is {node}: give it links to states 0 to {state - 1}"
                )
        if not self.nodes:
            raise FphiError("a cell without nodes computes nothing; give it at least one")


class Cell(nn.Module):
    """The cell of a plan. All operations give ``channels`` channels, whatever they take.

    The inputs are first brought to that many channels and to the size of the newer one by a 1x1
    convolution, with a factorized reduction where the older one is twice as large.

    Args:
        plan: what is computed.
        channels_in: of the two inputs, the older first.
        channels: of every operation.
        halve_older: whether the older input is twice as large as the newer.
        reduces: halve the size: what takes an input has stride 2.
        norm: normalisation.
        drop_path: highest probability that an operation other than the identity is dropped.
    """

    def __init__(
        self,
        plan: CellPlan,
        channels_in: tuple[int, int],
        channels: int,
        *,
        halve_older: bool = False,
        reduces: bool = False,
        norm: Norm = nn.BatchNorm2d,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        plan.check()
        self.plan = plan
        used = {link.source for node in plan.nodes for link in node.links} | set(plan.outputs)
        self.inputs = nn.ModuleList(
            _adapter(width, channels, halve_older and state == 0, norm) if state in used else nn.Identity()
            for state, width in enumerate(channels_in)
        )
        self.links, self.drops = nn.ModuleDict(), nn.ModuleDict()
        widths = [channels] * INPUTS
        for state, node in enumerate(plan.nodes, start=INPUTS):
            for arm, link in enumerate(node.links):
                name = _name(state, arm, link)
                stride = 2 if reduces and link.source < INPUTS else 1
                self.links[name] = operation(link.operation, widths[link.source], channels, stride, norm)
                if drop_path and link.operation != "identity":
                    self.drops[name] = DropPath(drop_path)
            widths.append(channels * (len(node.links) if node.combination == "concat" else 1))
        # Inputs that are part of the output of a reduction cell must be as small as the rest of it.
        self.reduced = nn.ModuleDict(
            {
                str(state): operation("identity", channels, channels, 2, norm)
                for state in plan.outputs
                if reduces and state < INPUTS
            }
        )
        self.channels_out = sum(widths[state] for state in plan.outputs)

    def forward(self, older: Tensor, newer: Tensor) -> Tensor:
        """The outputs ``[n, C, H, W]`` of the two cells before to ``[n, channels_out, h, w]``."""
        states = [adapt(x) for adapt, x in zip(self.inputs, (older, newer), strict=True)]
        for state, node in enumerate(self.plan.nodes, start=INPUTS):
            parts = []
            for arm, link in enumerate(node.links):
                name = _name(state, arm, link)
                x = self.links[name](states[link.source])
                parts.append(self.drops[name](x) if name in self.drops else x)
            states.append(torch.cat(parts, 1) if node.combination == "concat" else _sum(parts))
        chosen = [
            self.reduced[str(state)](states[state]) if str(state) in self.reduced else states[state]
            for state in self.plan.outputs
        ]
        return torch.cat(chosen, 1)


class CellStack(nn.Module):
    """Images ``[n, C, H, W]`` to features ``[n, feature_size]``: see `CellNetwork`."""

    def __init__(
        self,
        normal: CellPlan,
        reduction: CellPlan,
        input_channels: int,
        *,
        channels: int,
        cells_per_stage: int,
        reductions: int,
        norm: Norm,
        drop_path: float,
        stem: int,
    ) -> None:
        super().__init__()
        width = stem * channels
        self.stem = nn.Sequential(nn.Conv2d(input_channels, width, 3, padding=1, bias=False), norm(width))
        self.cells = nn.ModuleList()
        widths, halved = (width, width), False
        for stage in range(reductions + 1):
            for reduces in [True] * (stage > 0) + [False] * cells_per_stage:
                cell = Cell(
                    reduction if reduces else normal,
                    widths,
                    channels * 2**stage,
                    halve_older=halved,
                    reduces=reduces,
                    norm=norm,
                    drop_path=drop_path,
                )
                self.cells.append(cell)
                widths, halved = (widths[1], cell.channels_out), reduces
        self.feature_size = widths[1]

    def forward(self, x: Tensor) -> Tensor:
        older = newer = self.stem(channels_last(x))
        for cell in self.cells:
            older, newer = newer, cell(older, newer)
        features: Tensor = newer.relu().mean((-2, -1))
        return features


class CellNetwork(nn.Module):
    """Stem, stages of normal cells with a reduction cell before each but the first (``body``), ``head``.

    Any two cells may be stacked to any number with any number of channels: what was found in a small
    network is transferred to a large one.

    Args:
        normal: cell that keeps the size.
        reduction: cell that halves it, with twice as many channels from there on.
        input_shape: ``C, H, W`` of an image.
        outputs: of the linear layer; None: the network gives features ``[n, feature_size]``.
        channels: of the operations of the first stage.
        cells_per_stage: N, normal cells of each stage.
        reductions: stages but one.
        norm: of a number of channels, a normalisation; few-shot learners need fphi's own `BatchNorm`.
        drop_path: probability, reached at the end of the training, that the result of an operation is
            dropped; see `DropPath`.
        stem: channels of the first convolution, in multiples of ``channels``.

    Raises:
        FphiError: a number is too small, or a plan is no graph.
    """

    def __init__(
        self,
        normal: CellPlan,
        reduction: CellPlan,
        input_shape: tuple[int, ...],
        outputs: int | None,
        *,
        channels: int = 16,
        cells_per_stage: int = 2,
        reductions: int = 2,
        norm: Norm = nn.BatchNorm2d,
        drop_path: float = 0.0,
        stem: int = 3,
    ) -> None:
        super().__init__()
        if min(channels, stem) < 1 or min(cells_per_stage, reductions, cells_per_stage + reductions - 1) < 0:
            raise FphiError(
                f"channels={channels}, stem={stem}, cells_per_stage={cells_per_stage}, reductions="
                f"{reductions}: give at least one channel and at least one cell"
            )
        self.body = CellStack(
            normal,
            reduction,
            input_shape[0],
            channels=channels,
            cells_per_stage=cells_per_stage,
            reductions=reductions,
            norm=norm,
            drop_path=drop_path,
            stem=stem,
        )
        self.feature_size = self.body.feature_size
        self.head = nn.Identity() if outputs is None else nn.Linear(self.feature_size, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """``x: [n, C, H, W]`` to logits ``[n, outputs]``, or features ``[n, feature_size]``."""
        logits: Tensor = self.head(self.body(x))
        return logits


def _adapter(channels_in: int, channels: int, halve: bool, norm: Norm) -> nn.Module:
    # The stride makes the identity a factorized reduction.
    return (
        operation("identity", channels_in, channels, 2, norm)
        if halve
        else conv_block(channels_in, channels, 1, 1, norm)
    )


def _name(state: int, arm: int, link: Link) -> str:
    """Names the parameters of a link: the same link in another cell has the same name."""
    return f"{state}_{arm}_{link.source}_{link.operation}"


def _sum(parts: list[Tensor]) -> Tensor:
    return sum(parts[1:], start=parts[0])
