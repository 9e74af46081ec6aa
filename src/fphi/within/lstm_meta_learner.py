"""Gradient descent as the cell of an LSTM, whose gates are learned (Ravi and Larochelle, ICLR 2017)."""

import math

import torch
from torch import Tensor, nn

from fphi.ranges import Range, checked
from fphi.within.coordinates import CoordinateLSTM, preprocessed
from fphi.within.optimizers import InnerOptimizer, Parameters, State

__all__ = ["Gate", "LSTMMetaLearner", "gated"]

_SHARE = Range(0, 1, open=True, below=True)
_SPREAD = 0.01  # of all first weights, as in the authors' code


def gated(cell: Tensor, candidate: Tensor, forget: Tensor, take: Tensor) -> Tensor:
    """C ← f ∘ c + i ∘ z. With f = 1, i = η and z = -∇ it is a step of gradient descent to the last bit."""
    return forget * cell + take * candidate


class LSTMMetaLearner(InnerOptimizer):
    """θ ← f ∘ θ - i ∘ ∇: the parameters are an LSTM's cell, and its gates are learned.

    An ordinary LSTM reads the loss and a coordinate's gradient, both preprocessed. Its output, the
    coordinate's value and the gate before (ahead of its sigmoid) decide on each gate. All coordinates share
    the weights, and each has its own state (Ravi and Larochelle, Optimization as a Model for Few-Shot
    Learning, ICLR 2017). The paper takes losses and gradients as constants: a learner of ``order=1``. The
    cell's first state, θ⁰, is the learner's network.

    With ``stacked`` the candidate is not -∇ but the cell m of a second pair of gates, m ← f' ∘ m - i' ∘ ∇,
    which can gather past gradients as momentum does.

    Args:
        hidden: units of the LSTM that reads.
        rate: where the input gates begin, all about one; the paper's biases of -5 to -4 are 0.011.
        p: of the preprocessing, see `preprocessed`.
        stacked: whether there is a lower cell.
        memory: where the lower cell's forget gates begin.
    """

    reads_loss = True

    @checked(rate=_SHARE, p=Range(0, 100, open=True), memory=_SHARE)
    def __init__(
        self,
        hidden: int = 20,
        rate: float = 0.011,
        p: float = 10.0,
        stacked: bool = False,
        memory: float = 0.1,
    ) -> None:
        super().__init__()
        self.p, self.stacked = p, stacked
        self.reader = CoordinateLSTM(4, hidden, _SPREAD)
        # What a gate's bias is about in the beginning. The forget gates' 4.5 is 0.989.
        self.gates = nn.ModuleDict({"forget": Gate(hidden, 4.5), "take": Gate(hidden, _logit(rate))})
        if stacked:
            self.gates["keep"], self.gates["gather"] = Gate(hidden, _logit(memory)), Gate(hidden, 4.5)

    def gate(self, name: str) -> "Gate":
        """``"forget"`` or ``"take"``; of the lower cell ``"keep"`` or ``"gather"``."""
        found = self.gates[name]
        assert isinstance(found, Gate)
        return found

    def init(self, parameters: Parameters) -> State:
        read = {name: self.reader.start(p) for name, p in parameters.items()}
        zeros = {name: torch.zeros_like(p) for name, p in parameters.items()}
        lower = {"lower": zeros} if self.stacked else {}
        return {"output": read, "cell": read, **lower, **dict.fromkeys(self.gates, zeros)}

    def observe(self, losses: Tensor, state: State) -> State:
        return {**state, "loss": {"": losses}}

    def update(
        self, gradients: Parameters, state: State, parameters: Parameters, step: int
    ) -> tuple[Parameters, State]:
        loss = preprocessed(state["loss"][""], self.p)
        after: State = {part: {} for part in state if part != "loss"}
        moved: Parameters = {}
        for name, p in parameters.items():
            own = {part: values[name] for part, values in state.items() if part != "loss"}
            moved[name], own = self._one(p, gradients[name], loss, own)
            for part, value in own.items():
                after[part][name] = value
        return moved, after

    def _one(self, p: Tensor, gradient: Tensor, loss: Tensor, own: Parameters) -> tuple[Tensor, Parameters]:
        """One tensor ``[*B, *shape]`` and its state after the step; ``loss: [*B, 2]``."""
        spread = loss.reshape(loss.shape[:-1] + (1,) * (p.dim() - loss.dim() + 1) + (2,))
        x = torch.cat((preprocessed(gradient, self.p), spread.expand(*p.shape, 2)), -1)
        output, cell = self.reader(x, own["output"], own["cell"])
        after = {"output": output, "cell": cell}
        candidate = -gradient
        if self.stacked:
            keep, gather = (self._gate(k, output, own["lower"], own, after) for k in ("keep", "gather"))
            candidate = after["lower"] = gated(own["lower"], candidate, keep, gather)
        forget, take = (self._gate(k, output, p, own, after) for k in ("forget", "take"))
        return gated(p, candidate, forget, take), after

    def _gate(self, name: str, output: Tensor, cell: Tensor, own: Parameters, after: Parameters) -> Tensor:
        after[name] = self.gate(name)(output, cell, own[name])
        return after[name].sigmoid()


class Gate(nn.Module):
    """A gate ahead of its sigmoid, from the reader's output, the cell, and itself a step before."""

    def __init__(self, hidden: int, bias: float) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden + 2, 1)
        nn.init.uniform_(self.linear.weight, -_SPREAD, _SPREAD)
        nn.init.uniform_(self.linear.bias, bias - 0.5, bias + 0.5)

    def forward(self, output: Tensor, cell: Tensor, before: Tensor) -> Tensor:
        """``[...]`` from ``output: [..., hidden]``, ``cell`` and ``before: [...]``."""
        weight, bias = self.linear.weight[0], self.linear.bias[0]  # a scalar's gate is a scalar
        units = output.shape[-1]
        read: Tensor = output @ weight[:units] + weight[units] * cell + weight[units + 1] * before
        return read + bias


def _logit(share: float) -> float:
    return math.log(share / (1 - share))
