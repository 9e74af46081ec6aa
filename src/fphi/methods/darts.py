"""DARTS: all operations at once, in shares that gradient descent decides; the largest shares are the answer.

1. Learnable: α, the shares of the operations on each edge of a cell.
2. Loss: the validation loss of one network, whose weights are trained meanwhile.
3. Optimize: by gradient, through the step that the weights are about to take.
"""

from dataclasses import dataclass, fields, replace
from random import Random
from typing import ClassVar, Literal

import torch

from fphi.errors import FphiError
from fphi.learnable.architecture import ArchitectureSpace, MixingSpace
from fphi.learnable.mixture import Mixture
from fphi.learnable.space import Space
from fphi.methods.families.searching import SupernetMethod
from fphi.methods.table import method
from fphi.optimize.bilevel import Bilevel, BilevelPhase
from fphi.ranges import count, number, rate, share, weight
from fphi.tasks.supervised import Supervised

__all__ = ["DARTS"]


@method(
    "darts",
    paper="Liu, Simonyan, Yang: DARTS: Differentiable Architecture Search, ICLR 2019",
    arxiv="1806.09055",
)
@dataclass(frozen=True)
class DARTS(SupernetMethod):
    """The paper searches with 8 cells, 16 channels, 50 epochs, and half of the training set for α.

    Args:
        order: 2: α's gradient is taken at the weights that the next step would lead to, the paper's better
            one; 1: at the present ones, which is two to three times faster.
        derivative: of the second order: by a finite difference, or exact.
        scale: distance from the weights to the two points of the difference.
        epochs: of the supernet (paper: 50).
        batch_size: images of a training and of a validation minibatch (paper: 64).
        lr: of the weights; it falls to ``lr_end`` along half a cosine.
        lr_end: see ``lr``.
        momentum: of the weights.
        weight_decay: of the weights.
        clip_norm: longest gradient of the weights.
        alpha_lr: of α, by Adam (paper: 3e-4, for 20,000 steps; ten times as much for a hundred).
        alpha_weight_decay: of α.
        max_skips: stop once the derived normal cell has more skip connections, the known way for long
            searches to fail, and take what was derived before; none: never.
        supernet_cells: N while searching; that of the space if none (paper: 2, and 6 then).
        supernet_channels: while searching; those of the space if none (paper: 16, and 36 then).
    """

    usual_space: ClassVar[str] = "darts"
    paper_budget: ClassVar[str] = (
        "50 epochs of 8 cells and 16 channels: --epochs 50 --supernet-cells 2 --supernet-channels 16 "
        "--alpha-lr 0.0003 --order 2"
    )

    order: Literal[1, 2] = 1
    derivative: Literal["difference", "exact"] = "difference"
    scale: float = number(0.01, 0, 1000, open=True)
    epochs: int = count(4, 100_000)
    batch_size: int = count(64, 100_000)
    lr: float = rate(0.025)
    lr_end: float = weight(0.001, 1000)
    momentum: float = share(0.9)
    weight_decay: float = weight(3e-4)
    clip_norm: float = number(5.0, 0, 1e9, open=True)
    alpha_lr: float = weight(3e-3, 1000)
    alpha_weight_decay: float = weight(1e-3)
    max_skips: int | None = count(None, least=0)
    supernet_cells: int | None = count(None, 100)
    supernet_channels: int | None = count(4, 4096)

    def __post_init__(self) -> None:
        """Refuse a search that gives nothing."""
        super().__post_init__()
        self.phase()

    @property
    def variant(self) -> str:
        return f"{self.title} ({'first' if self.order == 1 else 'second'} order)"

    def phase(self) -> BilevelPhase:
        """The settings of the training."""
        return BilevelPhase(**{f.name: getattr(self, f.name) for f in fields(BilevelPhase)})

    def require(self, space: Space) -> None:
        if not isinstance(space, MixingSpace):
            raise FphiError(
                f"the operations of the space {space.name} cannot be mixed; "
                "choose the space darts or nasbench201"
            )

    def supernet(self, space: ArchitectureSpace, data: Supervised, seed: int) -> Mixture:
        """The mixture of all architectures, new."""
        sizes = {"cells": self.supernet_cells, "channels": self.supernet_channels}
        given = {name: size for name, size in sizes.items() if size is not None}
        smaller: ArchitectureSpace = replace(space, **given)  # type: ignore[type-var]
        self.require(smaller)
        assert isinstance(smaller, MixingSpace)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(Random(f"{seed}/supernet").getrandbits(63))
            return smaller.mixture(data.input_shape, data.classes)

    def begin(self, space: ArchitectureSpace, data: Supervised, seed: int) -> Bilevel:
        self.require(space)
        return Bilevel(self.supernet(space, data, seed), data, seed, self.phase())
