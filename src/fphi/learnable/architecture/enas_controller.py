"""The controllers of ENAS's two searches, as in the authors' code."""

import torch
from torch import Tensor

from fphi.errors import FphiError
from fphi.learnable.architecture.enas_micro import EnasMicroSpace
from fphi.learnable.controller import LSTMController
from fphi.learnable.space import Decision

__all__ = ["MacroController", "MicroController"]


class MacroController(LSTMController):
    """The controller of the macro search (Pham et al., ICML 2018, arXiv 1802.03268).

    No and yes to a skip connection have the logits -s and s of its score s, so both are bounded: yes has the
    probability σ(2c tanh(s)) with the tanh constant c, from σ(-2c) to σ(2c).
    """

    def connection_logits(self, score: Tensor) -> Tensor:
        """Logits of no and yes ``[n, 2]`` from the score s ``[n, 1]`` of a connection: -s and s."""
        return torch.cat([-score, score], 1)


class MicroController(LSTMController):
    """The controller of the micro search (Pham et al., ICML 2018, arXiv 1802.03268).

    Operations have biases that favour separable convolutions: a learned one within the tanh, and a fixed
    one after it in the first cell, positive for the convolutions and negative for all others. The bound
    on the logits of operations is smaller than that on those of indices.

    Args:
        space: of the architectures.
        seed, hidden, spread, tanh_constant: see `LSTMController`.
        learned_bias: of the convolutions at the start (paper: 10).
        fixed_bias: ± of the first cell (paper: 0.25).
        divisor: of the tanh constant, for operations (paper: 2.5).

    Raises:
        FphiError: an option is out of its range.
    """

    def __init__(
        self,
        space: EnasMicroSpace,
        seed: int = 0,
        *,
        hidden: int = 64,
        spread: float = 0.1,
        tanh_constant: float = 1.10,
        learned_bias: float = 10.0,
        fixed_bias: float = 0.25,
        divisor: float = 2.5,
    ) -> None:
        super().__init__(space, seed, hidden=hidden, spread=spread, tanh_constant=tanh_constant)
        if not divisor > 0:
            raise FphiError(f"the divisor of the tanh constant is {divisor}; it must be above 0")
        self.divisor = divisor
        self.first_cell = range(space.states)
        self.register_buffer("convolutions", torch.tensor(space.convolutions, dtype=torch.float32))
        self.convolutions: Tensor
        self.fixed_bias = fixed_bias
        asked = next(decision for decision in space.decisions if decision.name == "operation")
        with torch.no_grad():
            self.question(asked).biases[0].copy_(learned_bias * self.convolutions)

    def bounded(self, logits: Tensor, decision: Decision) -> Tensor:
        """The logits within the bound of their question, and the fixed bias."""
        logits = super().bounded(logits, decision)
        if decision.name != "operation":
            return logits
        bias = self.fixed_bias if decision.part in self.first_cell else 0.0
        return logits / self.divisor + bias * (2 * self.convolutions - 1)
