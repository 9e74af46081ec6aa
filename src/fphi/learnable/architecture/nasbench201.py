"""The cell of NAS-Bench-201: four nodes, an operation on each of the six edges between them."""

import re
from dataclasses import dataclass
from random import Random
from typing import ClassVar

from torch import nn

from fphi.errors import FphiError
from fphi.learnable.architecture.space import Decision, Edge, FixedSpace, Graph, Tokens

__all__ = ["EDGES_201", "OPERATIONS_201", "NASBench201Space"]

OPERATIONS_201 = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
# (start, end), in the order of the benchmark's strings.
EDGES_201 = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))


@dataclass(frozen=True)
class NASBench201Space(FixedSpace):
    """15,625 cells (Dong and Yang, ICLR 2020, arXiv 2001.00326); node = sum of its edges' operations.

    Args:
        channels: of the first stage; each reduction doubles them.
        cells: cells of each of the three stages.
    """

    name: ClassVar[str] = "nasbench201"

    channels: int = 16
    cells: int = 5

    @property
    def decisions(self) -> tuple[Decision, ...]:
        return _DECISIONS

    def mutate(self, tokens: Tokens, rng: Random) -> Tokens:
        """Another operation on one edge: a node at random, then one of its edges (so not edges uniformly)."""
        node = rng.randrange(1, 4)
        edges = [i for i, (_, end) in enumerate(EDGES_201) if end == node]
        return self.changed(tokens, rng.choice(edges), rng)

    def text(self, tokens: Tokens) -> str:
        """The benchmark's own string.

        >>> NASBench201Space().text((3, 3, 3, 1, 3, 2))
        '|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|'
        """
        nodes = [
            "|"
            + "".join(
                f"{OPERATIONS_201[t]}~{start}|"
                for t, (start, end) in zip(tokens, EDGES_201, strict=True)
                if end == node
            )
            for node in (1, 2, 3)
        ]
        return "+".join(nodes)

    def parse(self, text: str) -> Tokens:
        names = re.findall(r"(\w+)~\d", text)
        tokens = tuple(OPERATIONS_201.index(n) for n in names if n in OPERATIONS_201)
        if len(tokens) != len(EDGES_201) or self.text(tokens) != text:
            raise FphiError(f"{text!r} is no cell of NAS-Bench-201; one looks like {self.text((0,) * 6)!r}")
        return tokens

    def build(self, tokens: Tokens, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        raise NotImplementedError

    def graphs(self, tokens: Tokens) -> list[Graph]:
        edges = [
            Edge(*ends, OPERATIONS_201[token])
            for token, ends in zip(tokens, EDGES_201, strict=True)
            if OPERATIONS_201[token] != "none"
        ]
        return [Graph("cell", ("input", "1", "2", "output"), tuple(edges))]


_DECISIONS = tuple(Decision("operation", len(OPERATIONS_201), part=end) for _, end in EDGES_201)
