"""The cell of NAS-Bench-201: four nodes, an operation on each of the six edges between them."""

import re
from dataclasses import dataclass
from random import Random
from typing import ClassVar

from torch import Tensor, nn

from fphi.errors import FphiError
from fphi.learnable.architecture.space import ArchitectureSpace, Edge, Graph
from fphi.learnable.mixture import Mixture
from fphi.learnable.space import Decision, FixedSpace, Tokens
from fphi.networks.mixture import fixed_norm
from fphi.networks.nasbench201 import Cell201, MixedCell201, Network201
from fphi.networks.operations import Norm

__all__ = ["EDGES_201", "OPERATIONS_201", "NASBench201Space", "Supernet201"]

OPERATIONS_201 = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
# (start, end), in the order of the benchmark's strings.
EDGES_201 = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))


@dataclass(frozen=True)
class NASBench201Space(FixedSpace, ArchitectureSpace):
    """15,625 cells (Dong and Yang, ICLR 2020, arXiv 2001.00326); node = sum of its edges' operations.

    The network around the cells is the benchmark's: a 3x3 convolution, three stages of equal cells with a
    residual block of stride 2 between them, the mean over the image, a linear layer.

    Args:
        channels: of the first stage; each reduction doubles them (the benchmark's: 16).
        cells: of each of the three stages (the benchmark's: 5).
    """

    name: ClassVar[str] = "nasbench201"

    channels: int = 8
    cells: int = 1

    def __post_init__(self) -> None:
        """Refuse networks with nothing in them."""
        if min(self.channels, self.cells) < 1:
            raise FphiError(f"channels={self.channels}, cells={self.cells}: both must be at least 1")

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

    def build(self, tokens: Tokens, input_shape: tuple[int, ...], outputs: int) -> Network201:
        return self.network(tokens, input_shape, outputs)

    def network(
        self,
        tokens: Tokens,
        input_shape: tuple[int, ...],
        outputs: int | None,
        norm: Norm = nn.BatchNorm2d,
    ) -> Network201:
        """`build` with a normalisation of one's choice; ``outputs=None`` leaves the linear layer out."""
        names = [OPERATIONS_201[token] for token in self.check(tokens)]
        return Network201(
            lambda channels: Cell201(names, channels, norm),
            input_shape[0],
            outputs,
            channels=self.channels,
            cells=self.cells,
            norm=norm,
        )

    def mixture(self, input_shape: tuple[int, ...], outputs: int) -> "Supernet201":
        return Supernet201(self, input_shape, outputs)

    def graphs(self, tokens: Tokens) -> list[Graph]:
        edges = [
            Edge(*ends, OPERATIONS_201[token])
            for token, ends in zip(tokens, EDGES_201, strict=True)
            if OPERATIONS_201[token] != "none"
        ]
        return [Graph("cell", ("input", "1", "2", "output"), tuple(edges))]


class Supernet201(Mixture):
    """All cells of NAS-Bench-201 as one mixture, α ``[6, 5]``, the same for all cells.

    As the benchmark derives DARTS's cell: on each edge the operation with the largest α, none included.
    """

    def __init__(self, space: NASBench201Space, input_shape: tuple[int, ...], outputs: int) -> None:
        super().__init__({"cell": (len(EDGES_201), len(OPERATIONS_201))})
        self.network = Network201(
            lambda channels: MixedCell201(OPERATIONS_201, channels),
            input_shape[0],
            outputs,
            channels=space.channels,
            cells=space.cells,
            norm=fixed_norm,
        )

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x, self.probabilities()["cell"])
        return logits

    def derive(self) -> Tokens:
        return tuple(self.alphas["cell"].argmax(-1).tolist())

    def skips(self) -> dict[str, int]:
        return {"cell": self.derive().count(OPERATIONS_201.index("skip_connect"))}


_DECISIONS = tuple(Decision("operation", len(OPERATIONS_201), part=end) for _, end in EDGES_201)
