"""Networks of motifs: graphs whose arrows are operations or, again, motifs."""

from collections.abc import Iterator
from typing import NamedTuple, Union

import torch
from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.networks.channels_last import channels_last
from fphi.networks.operations import Norm, conv_block, operation

__all__ = ["Arrow", "Motif", "MotifGraph", "MotifNetwork", "flatten"]


class Arrow(NamedTuple):
    """From a node to a later one: an operation by its name in ``OPERATIONS``, or a motif."""

    start: int
    end: int
    content: Union[str, "Motif"]


class Motif(NamedTuple):
    """Nodes 0 (the input) to ``size`` - 1 (the output), each the concatenation of what its arrows give."""

    size: int
    arrows: tuple[Arrow, ...]

    def pruned(self) -> "Motif":
        """Without the arrows that are on no path from the input to the output."""
        inner = [
            Arrow(start, end, content if isinstance(content, str) else content.pruned())
            for start, end, content in self.arrows
        ]
        useful = [arrow for arrow in inner if isinstance(arrow.content, str) or arrow.content.arrows]
        ahead, back = {0}, {self.size - 1}
        for arrow in sorted(useful, key=lambda a: a.start):
            ahead |= {arrow.end} if arrow.start in ahead else set()
        for arrow in sorted(useful, key=lambda a: -a.end):
            back |= {arrow.start} if arrow.end in back else set()
        kept = ahead & back
        return Motif(self.size, tuple(a for a in useful if a.start in kept and a.end in kept))

    def into(self, node: int) -> list[Arrow]:
        """The arrows that end at ``node``."""
        return [arrow for arrow in self.arrows if arrow.end == node]


class MotifGraph(nn.Module):
    """A motif on images of a constant number of channels; each use of a motif has weights of its own.

    What a node concatenates is brought back to ``channels`` by a 1x1 convolution, unless it is the result
    of a single arrow. A motif that nothing passes gives zeros.

    Args:
        motif: what is computed; what its output does not depend on is left out.
        channels: of the input, of every node and of the output.
        norm: normalisation.
    """

    def __init__(self, motif: Motif, channels: int, norm: Norm = nn.BatchNorm2d) -> None:
        super().__init__()
        self.motif = motif.pruned()
        self.arrows = nn.ModuleDict(
            {
                _name(arrow): operation(arrow.content, channels, channels, 1, norm)
                if isinstance(arrow.content, str)
                else MotifGraph(arrow.content, channels, norm)
                for arrow in self.motif.arrows
            }
        )
        counts = {node: len(self.motif.into(node)) for node in range(motif.size)}
        self.merges = nn.ModuleDict(
            {
                str(node): conv_block(count * channels, channels, 1, 1, norm)
                for node, count in counts.items()
                if count > 1
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        """``[n, channels, h, w]`` to the same shape."""
        nodes = {0: x}
        for node in range(1, self.motif.size):
            parts = [self.arrows[_name(arrow)](nodes[arrow.start]) for arrow in self.motif.into(node)]
            if len(parts) > 1:
                nodes[node] = self.merges[str(node)](torch.cat(parts, 1))
            elif parts:
                nodes[node] = parts[0]
        return nodes.get(self.motif.size - 1, torch.zeros_like(x))


def flatten(motif: Motif) -> tuple[Motif, dict[str, str]]:
    """The same function without motifs in it: only operations on its arrows.

    A motif on an arrow gives its inner nodes to the whole, and an identity leads from its output on.

    Returns:
        The flat motif, and which modules within its `MotifGraph` correspond to which within the
        hierarchical one: the names of both, for all that have parameters.
    """
    flattener = _Flattener()
    flattener.inline(motif.pruned(), 0, "")
    return Motif(flattener.size, tuple(flattener.arrows)), flattener.names


class _Flattener:
    """Numbers nodes after all that they depend on."""

    def __init__(self) -> None:
        self.size = 1
        self.arrows: list[Arrow] = []
        self.names: dict[str, str] = {}

    def inline(self, motif: Motif, source: int, path: str) -> int:
        """Add a motif behind the node ``source``; return the number of its output."""
        numbers = {0: source}
        for node in range(1, motif.size):
            into = [self._resolved(arrow, numbers, path) for arrow in motif.into(node)]
            if not into and motif.arrows:
                continue
            numbers[node], self.size = self.size, self.size + 1
            for start, name, inner in into:
                self.arrows.append(Arrow(start, numbers[node], name))
                if inner:
                    self.names[f"arrows.{_name(self.arrows[-1])}"] = inner
            if len(into) > 1:
                self.names[f"merges.{numbers[node]}"] = f"{path}merges.{node}"
        return numbers[motif.size - 1]

    def _resolved(self, arrow: Arrow, numbers: dict[int, int], path: str) -> tuple[int, str, str]:
        """Where an arrow starts in the flat graph, its operation, and its module in the other one."""
        start, inner = numbers[arrow.start], f"{path}arrows.{_name(arrow)}"
        if isinstance(arrow.content, str):
            return start, arrow.content, inner
        return self.inline(arrow.content, start, f"{inner}."), "identity", ""


class MotifNetwork(nn.Module):
    """A convolution, stages of one motif with separable convolutions of stride 2 between them, a linear head.

    Args:
        motif: of all cells.
        input_shape: ``C, H, W`` of an image.
        outputs: of the linear layer; None: the network gives features ``[n, feature_size]``.
        channels: of the first stage; each reduction doubles them.
        cells_per_stage: cells one after another.
        reductions: stages but one.
        norm: normalisation.
    """

    def __init__(
        self,
        motif: Motif,
        input_shape: tuple[int, ...],
        outputs: int | None,
        *,
        channels: int = 16,
        cells_per_stage: int = 1,
        reductions: int = 2,
        norm: Norm = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        if min(channels, cells_per_stage) < 1 or reductions < 0:
            raise FphiError(
                f"channels={channels}, cells_per_stage={cells_per_stage}, reductions={reductions}: give at "
                "least one channel and one cell"
            )
        self.feature_size = channels * 2**reductions
        stem = nn.Sequential(nn.Conv2d(input_shape[0], channels, 3, padding=1, bias=False), norm(channels))

        def parts() -> Iterator[nn.Module]:
            for width in (channels * 2**stage for stage in range(reductions + 1)):
                if width > channels:
                    yield operation("separable_3x3", width // 2, width, 2, norm)
                for _ in range(cells_per_stage):
                    yield MotifGraph(motif, width, norm)

        end = [nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        self.body = nn.Sequential(stem, *parts(), *end)
        self.head = nn.Identity() if outputs is None else nn.Linear(self.feature_size, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """``x: [n, C, H, W]`` to logits ``[n, outputs]``, or features ``[n, feature_size]``."""
        logits: Tensor = self.head(self.body(channels_last(x)))
        return logits


def _name(arrow: Arrow) -> str:
    """Names the parameters of an arrow; two nodes have one arrow at most."""
    return f"{arrow.start}_{arrow.end}"
