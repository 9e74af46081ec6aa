"""Zoph and Le: an LSTM writes a network layer by layer, and is rewarded with the accuracy of what it wrote.

1. Learnable: the parameters of an LSTM that emits an architecture; networks grow deeper in the course.
2. Loss: the error on validation data after training; the reward is the cube of the accuracy.
3. Optimize: by reinforcement learning.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from fphi.errors import FphiError
from fphi.learnable.architecture import LayerSpace
from fphi.learnable.controller import LSTMController
from fphi.learnable.space import Space
from fphi.methods.families.searching import SearchMethod
from fphi.methods.table import method
from fphi.optimize import MovingBaseline, PolicyGradient, PolicyUpdate
from fphi.optimize.ask_tell import Growth
from fphi.ranges import count, number, rate, share, weight
from fphi.within.uncompiled import uncompiled

__all__ = ["ZophLe"]


@method(
    "zoph-le",
    paper="Zoph, Le: Neural Architecture Search with Reinforcement Learning, ICLR 2017",
    arxiv="1611.01578",
)
@dataclass(frozen=True)
class ZophLe(SearchMethod):
    """REINFORCE with an LSTM; in the space of layers the networks become deeper, the LSTM stays.

    The paper's accuracy is the highest of the last five of 50 epochs, which is a setting of the children's
    training: ``last_epochs`` is 5 and ``of_last`` max.

    Args:
        lr: Adam's learning rate for the controller; the paper's 6e-4 had 12,800 networks, with fewer it
            learns next to nothing.
        batch: networks for each update (paper: 8 for each of its workers).
        power: of the accuracy that is the reward (paper: 3).
        decay: of the moving average of the rewards that is the baseline; it does not know the current ones.
        entropy: weight of the policy's entropy in the objective (paper: none).
        hidden: units of each layer of the LSTM.
        lstm_layers: of the LSTM.
        spread: of its initial weights, uniform within ±.
        depth_step: layers that are added (paper: 2), in the space of layers.
        depth_every: networks after which they are (paper: 1600); 0: the depth stays.
        max_depth: where this ends.
    """

    usual_space: ClassVar[str] = "layers"
    usual_evaluations: ClassVar[int] = 80
    drawn_by: ClassVar[str] = "batch"
    paper_budget: ClassVar[str] = "12,800 networks: --evaluations 12800 --lr 0.0006 --batch 8"

    lr: float = rate(0.01)
    batch: int = count(1, 100_000)
    power: int = count(3, 100)
    decay: float = share(0.95)
    entropy: float = weight(0.0)
    hidden: int = count(35, 8192)
    lstm_layers: int = count(2, 100)
    spread: float = number(0.08, 0, 1000, open=True)
    depth_step: int = count(2, 1000, least=0)
    depth_every: int = count(1600, least=0)
    max_depth: int = count(20, 1000, least=0)

    def __post_init__(self) -> None:
        """Refuse rewards that say nothing, and depths that shrink."""
        super().__post_init__()
        if min(self.lr, self.power) <= 0 or min(self.depth_step, self.depth_every, self.max_depth) < 0:
            raise FphiError(
                f"lr={self.lr}, power={self.power}, depth_step={self.depth_step}, depth_every="
                f"{self.depth_every}, max_depth={self.max_depth}: the first two must be above 0, the others "
                "at least 0"
            )

    def optimizer(self, space: Space, seed: int) -> PolicyGradient:
        policy = LSTMController(space, seed, hidden=self.hidden, layers=self.lstm_layers, spread=self.spread)
        return PolicyGradient(
            policy,
            uncompiled(torch.optim.Adam)(policy.parameters(), lr=self.lr),
            seed,
            update=PolicyUpdate(batch=self.batch, entropy=self.entropy),
            baseline=MovingBaseline(self.decay),
            reward=lambda loss: (1 - loss) ** self.power,
            growth=self.growth(space),
        )

    def growth(self, space: Space) -> Growth | None:
        if not isinstance(space, LayerSpace) or not self.depth_every:
            return None
        most = max(space.depth, self.max_depth)

        def grown(number: int) -> LayerSpace:
            depth = space.depth + self.depth_step * (number // self.depth_every)
            return replace(space, depth=min(depth, most))

        return grown
