"""The controllers of ENAS: convolutions are preferred at the start, and skip connections rationed."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fphi.errors import FphiError
from fphi.learnable.architecture.controller import LSTMController
from fphi.learnable.architecture.enas_micro import EnasMicroSpace
from fphi.learnable.architecture.space import Decision, FixedSpace, Tokens

__all__ = ["MicroController", "skip_divergence"]


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


def skip_divergence(policy: LSTMController, tokens: Sequence[Tokens], target: float) -> Tensor:
    """How far the probabilities of skip connections are from ``target``, a scalar.

    The Kullback-Leibler divergence of each connection's probability from the target, on the way to each
    architecture; summed over the connections of a layer, and the mean over layers and architectures.
    """
    space = policy.space
    if not isinstance(space, FixedSpace):
        raise FphiError(f"the connections of the space {space.name} depend on the answers; give no target")
    decisions = space.decisions
    layers = {decision.part for decision in decisions if decision.is_connection}
    wanted = torch.tensor([1 - target, target]).log()
    total = torch.zeros(())
    for decision, logs in zip(decisions, policy.distributions(decisions, tokens), strict=True):
        if decision.is_connection:
            total = total + (logs.exp() * (logs - wanted)).sum(-1).mean()
    return total / max(1, len(layers))
